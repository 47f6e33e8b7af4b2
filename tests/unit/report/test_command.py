"""The command `ltrun report`: its tables, formats, refusals and exit codes."""

import csv
import io
import re
import subprocess
import sys
from dataclasses import replace
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
    assert all(word in out for word in ("cifar100_lt", "ERM", "LDAM-DRW", "Many", "Medium", "Few", "±"))
    assert err == ""


def test_reads_outputs_by_default(outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.delenv("LTRUN_OUTPUTS", raising=False)
    monkeypatch.chdir(outputs.parent)
    assert main([]) == 0
    assert "LDAM-DRW" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["markdown", "latex", "csv"])
def test_redirected_formats_hold_nothing_but_the_table(outputs: Path, capsys: Capture, name: str) -> None:
    broken = next(outputs.rglob("result.json"))
    broken.write_text("{")
    assert main([str(outputs), f"--{name}"]) == 0
    out, err = capsys.readouterr()
    assert str(broken) not in out
    assert str(broken) in err
    assert "not in the tables: 1 damaged" in err
    starts = {"markdown": "### CIFAR-100-LT", "latex": "% needs", "csv": "table,"}
    assert out.startswith(starts[name])


@pytest.mark.parametrize("by", [["--by", "margin,seed"], ["--by", "margin", "--by", "seed"]])
def test_metric_and_split_can_be_chosen(outputs: Path, capsys: Capture, by: list[str]) -> None:
    assert main([str(outputs), *by, "--metric", "error", "--split", "val", "--csv"]) == 0
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


@pytest.mark.parametrize(
    ("words", "hint"), [(["--by", "margn"], "margin"), (["--split", "tset"], "test"), (["--metric", "macr"], "macro")]
)
def test_misspelt_keys_get_the_nearest_name(outputs: Path, capsys: Capture, words: list[str], hint: str) -> None:
    assert main([str(outputs), *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"did you mean '{hint}'" in err


def test_an_unknown_metric_gets_the_list_of_what_the_runs_have(outputs: Path, capsys: Capture) -> None:
    run = record("crt")
    run.predictors["plain"]["splits"]["test"] |= {"auprc": 0.9, "confusion": [[1, 2], [3, 4]]}
    run.save(outputs / "other")
    assert main([str(outputs), "--metric", "xyzzy"]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "no run has a metric 'xyzzy'; the runs have accuracy, error, macro, ece, cost, " in err
    assert ", auprc\n" in err and "confusion" not in err and "images," not in err


def test_a_metric_of_another_version_is_shown_unscaled(outputs: Path, capsys: Capture) -> None:
    for seed, value in ((0, 0.25), (1, 0.75)):
        run = record("crt", seed)
        run.predictors["plain"]["splits"]["test"]["auprc"] = value
        run.save(outputs / f"other{seed}")
    assert main([str(outputs), "--metric", "auprc", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "| Method | auprc | n |" in out and "| cRT | 0.500 ± 0.354 | 2 |" in out and "| ERM | \N{EN DASH} | 2 |" in out
    assert "auprc on the test split: mean" in out and "%" not in out and "**" not in out


@pytest.mark.parametrize("name", ["ece", "macro"])
def test_a_record_without_a_metric_has_a_dash(outputs: Path, capsys: Capture, name: str) -> None:
    run = record("crt")
    del run.predictors["plain"]["splits"]["test"][name], run.predictors["plain"]["splits"]["test"]["few"]
    run.save(outputs / "older")
    assert main([str(outputs), "--metric", name, "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    missing = [line["group"] for line in lines if line["mean"] == ""]
    assert {line["method"] for line in lines if line["mean"] == ""} == {"crt"}
    assert missing == (["ece"] if name == "ece" else ["macro", "few"])


def test_a_metric_that_no_run_has_is_refused(tmp_path: Path, capsys: Capture) -> None:
    run = record()
    del run.predictors["plain"]["splits"]["test"]["ece"]
    run.save(tmp_path)
    assert main([str(tmp_path), "--metric", "ece"]) == 1
    assert "no run has a metric 'ece'; the runs have accuracy, error, macro, cost" in capsys.readouterr().err


def test_one_cost_can_be_shown_alone(outputs: Path, capsys: Capture) -> None:
    replace(record("crt"), provenance={"peak_memory_bytes": 3 * 2**20}).save(outputs / "costly")
    assert main([str(outputs), "--metric", "peak_memory_bytes", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "| Method | peak MiB | n |" in out and "| cRT | 3.00 | 1 |" in out and "\nPeak memory: mean" in out


def test_1_and_1_0_are_one_value(tmp_path: Path, capsys: Capture) -> None:
    """Overrides 50, 50.0 and 5e1 give one table, one row and one value to group by."""
    for seed, value in enumerate((50, 50.0, 5e1)):
        one = value / 50 if seed else 1
        changes = {"dataset.imbalance": value, "margin.scale": one, "mixed": [1, one]}
        config = {"dataset": {"imbalance": value}, "margin": {"scale": one}, "mixed": [1, one], "slots": []}
        record(seed=seed, changes=changes, config=config).save(tmp_path / str(seed))
    assert main([str(tmp_path), "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "### CIFAR-100-LT [imbalance=50]\n" in out and out.count("| erm") == 1
    assert re.search(r"\n\| erm \[margin\.scale=1, mixed=\[1,1\]\] \|.*\| 3 \|\n", out)
    for key, shown in (("dataset.imbalance", "50"), ("margin.scale", "1"), ("mixed", "[1,1]")):
        assert main([str(tmp_path), "--by", key, "--csv"]) == 0
        lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert {(line[key], line["n"]) for line in lines} == {(shown, "3")}


def test_true_is_not_1_and_a_note_names_only_differing_keys(tmp_path: Path, capsys: Capture) -> None:
    for seed, flip in enumerate((True, 1, 1.0)):
        config = {"flip": flip, "padding": [4.0, 4, 4][seed], "slots": []}
        record(config=config, seed=seed).save(tmp_path / str(seed))
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "ERM names 2 configurations, which differ in flip: " in out and "padding" not in out
    assert main([str(tmp_path), "--by", "flip", "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {(line["flip"], line["n"]) for line in lines} == {("true", "1"), ("1", "2")}


def test_unknown_options_exit_with_2(outputs: Path) -> None:
    for words in (["--metric"], ["--nope"], ["--csv", "--html"]):
        with pytest.raises(SystemExit) as exit:
            main([str(outputs), *words])
        assert exit.value.code == 2


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


def test_a_sweep_ends_with_the_table_of_its_runs(outputs: Path, capsys: Capture) -> None:
    done = sorted(file.parent for file in outputs.rglob("result.json"))[:2]
    print_sweep(done)
    out = capsys.readouterr().out
    assert "ERM" in out
    assert "LDAM-DRW" not in out


def test_a_sweep_without_finished_runs_ends_without_a_table(tmp_path: Path, capsys: Capture) -> None:
    print_sweep([tmp_path / "never_made"])
    out, err = capsys.readouterr()
    assert out == ""
    assert "no run of this sweep has finished" in err


def test_imports_nothing_heavy(outputs: Path) -> None:
    heavy = "{'torch', 'torchvision', 'sklearn', 'hydra', 'omegaconf', 'pandas', 'numpy', 'matplotlib'}"
    code = "import sys; from ltrun.commands.report import main; main(sys.argv[1:]); "
    code += f"print(sorted({heavy} & sys.modules.keys()), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, str(outputs)], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_a_reader_that_stops_early_is_no_error(outputs: Path) -> None:
    runs = [sys.executable, "-m", "ltrun", "report", str(outputs), "--csv"]
    with subprocess.Popen(runs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
