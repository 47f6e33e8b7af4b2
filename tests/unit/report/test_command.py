"""`ltrun report` as its user meets it."""

import csv
import io
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from ltrun.commands.report import main, print_sweep
from ltrun.results.address import address
from tests.support.recorded import record


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    root = tmp_path / "outputs"
    for method in ("erm", "ldam_drw"):
        for seed in (0, 1):
            run = record(method, seed, splits=("test", "val"), margin="ldam" if "ldam" in method else "none")
            run.save(address(root, run.dataset, run.method, run.fingerprint, run.seed))
    return root


Capture = pytest.CaptureFixture[str]


def test_prints_the_table(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs)]) == 0
    out, err = capsys.readouterr()
    assert all(word in out for word in ("cifar100_lt", "erm", "ldam_drw", "Many", "Medium", "Few", "±"))
    assert err == ""


def test_reads_outputs_by_default(outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(outputs.parent)
    assert main([]) == 0
    assert "ldam_drw" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["markdown", "latex", "csv", "html"])
def test_redirected_formats_hold_nothing_but_the_table(outputs: Path, capsys: Capture, name: str) -> None:
    broken = next(outputs.rglob("result.json"))
    broken.write_text("{")
    assert main([str(outputs), f"--{name}"]) == 0
    out, err = capsys.readouterr()
    assert str(broken) not in out
    assert str(broken) in err
    assert "not in the tables: 1 damaged" in err
    starts = {"markdown": "### cifar100_lt", "latex": "% needs", "csv": "table,", "html": "<!doctype html>"}
    assert out.startswith(starts[name])


def test_by_metric_and_split(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs), "--by", "margin,seed", "--metric", "error", "--split", "val", "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(lines) == 2 * 2 * 4
    assert {(line["metric"], line["split"]) for line in lines} == {("error", "val")}


def test_unfinished_runs_are_counted_and_some_are_named(outputs: Path, capsys: Capture) -> None:
    for seed in range(10, 20):
        address(outputs, "cifar100_lt", "crt", "0123abcd", seed).mkdir(parents=True)
    assert main([str(outputs)]) == 0
    err = capsys.readouterr().err
    assert "10 unfinished" in err
    assert "seed10" in err
    assert "and 5 more" in err


def test_nothing_found_is_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    assert main([str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert str(tmp_path) in err


@pytest.mark.parametrize(("words", "hint"), [(["--by", "margn"], "margin"), (["--split", "tset"], "test")])
def test_misspelt_keys(outputs: Path, capsys: Capture, words: list[str], hint: str) -> None:
    assert main([str(outputs), *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"did you mean '{hint}'" in err


def test_unknown_options_exit_with_2(outputs: Path) -> None:
    for words in (["--metric", "f1"], ["--nope"], ["--csv", "--html"]):
        with pytest.raises(SystemExit) as exit:
            main([str(outputs), *words])
        assert exit.value.code == 2


def test_plots(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    run = record("erm", dataset="odd / name $x", counts=[500, 400])
    run.predictors["plain"]["splits"]["test"]["per_class"][1] = None  # a class without test images
    run.save(outputs / "odd")
    assert main([str(outputs), "--plots", str(tmp_path / "figures")]) == 0
    files = sorted((tmp_path / "figures").iterdir())
    assert [file.name for file in files] == [
        "1-cifar100_lt-classes.png", "1-cifar100_lt-groups.png", "2-odd_name_x-classes.png", "2-odd_name_x-groups.png",
    ]  # fmt: skip
    told = capsys.readouterr().err
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size > 5000
        assert str(file) in told


@pytest.mark.parametrize("more", ["", " [many=1, settings=2, that=3, make=4, a=5, long=6, name=7, as=8, ablations=9]"])
def test_figures_hold_all_their_names(more: str) -> None:
    pytest.importorskip("matplotlib")
    from ltrun.report import plots, tables

    (table,) = tables([record(f"method_{i}{more}") for i in range(60)])
    classes, groups = plots._classes(table), plots._groups(table)
    for figure in (classes, groups):
        figure.draw_without_rendering()
    legend = classes.legends[0].get_window_extent()
    assert legend.x0 >= -1 and legend.x1 <= classes.bbox.width + 1
    assert legend.y0 >= -1 and legend.y1 <= classes.axes[0].get_window_extent().y0
    labels = [label.get_window_extent() for label in groups.axes[0].get_yticklabels()]
    assert len(labels) == 60 and min(label.x0 for label in labels) >= -1
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(labels)), "they lie on each other"
    assert (
        len({(line.get_color(), line.get_linestyle(), str(vars(line)["_dash_pattern"])) for line in classes.axes[0].lines})
        == 60
    )


def test_a_narrow_terminal_cuts_off_no_number(outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    main([str(outputs)])
    wide = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    main([str(outputs)])
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    numbers = re.findall(r"\d+\.\d ± \d+\.\d", wide)
    assert numbers and re.findall(r"\d+\.\d ± \d+\.\d", narrow) == numbers and "…" not in narrow
    assert narrow.count("Method") == wide.count("Method") and narrow.count(" n ") == wide.count(" n ")


def test_plots_without_matplotlib(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(outputs), "--plots", str(tmp_path)]) == 1
    assert "pip install 'ltrun[plots]'" in capsys.readouterr().err


def test_the_end_of_a_sweep(outputs: Path, capsys: Capture) -> None:
    done = sorted(file.parent for file in outputs.rglob("result.json"))[:2]
    print_sweep(done, [("crt on cifar100_lt, seed 0", "the loss is nan\nin epoch 3")])
    out, err = capsys.readouterr()
    assert "erm" in out
    assert "ldam_drw" not in out
    assert "1 failed:" in err
    assert "crt on cifar100_lt, seed 0: the loss is nan in epoch 3" in err


def test_the_end_of_a_sweep_that_failed_altogether(tmp_path: Path, capsys: Capture) -> None:
    print_sweep([tmp_path / "never_made"], [("erm", "no data"), ("crt", "no data")])
    out, err = capsys.readouterr()
    assert out == ""
    assert "no run of this sweep has finished" in err
    assert "2 failed:" in err


def test_imports_nothing_heavy_and_starts_at_once(outputs: Path) -> None:
    heavy = "{'torch', 'torchvision', 'sklearn', 'hydra', 'omegaconf', 'pandas', 'numpy', 'matplotlib'}"
    code = "import sys; from ltrun.commands.report import main; main(sys.argv[1:]); "
    code += f"print(sorted({heavy} & sys.modules.keys()), file=sys.stderr)"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, str(outputs)], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert time.perf_counter() - began < 5


def test_a_reader_that_stops_early_is_no_error(outputs: Path) -> None:
    code = "import sys; from ltrun.commands.report import main; sys.exit(main(sys.argv[1:]))"
    runs = [sys.executable, "-c", code, *[str(outputs)], "--csv"]
    with subprocess.Popen(runs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_figures_over_several_data_sets_have_no_classes_in_common(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    record("erm", counts=[500, 400]).save(tmp_path / "a")
    record("erm", dataset="other", counts=[500, 400, 30]).save(tmp_path / "b")
    assert main([str(tmp_path), "--by", "dataset", "--plots", str(tmp_path / "figures")]) == 0
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["1-all_data_sets-groups.png"]
