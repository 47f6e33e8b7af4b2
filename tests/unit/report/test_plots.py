"""Files of figures: their folders, names and formats; equal runs give equal bytes."""

import sys
from pathlib import Path

import pytest

from ltrun.commands.report import main
from tests.support.recorded import record

pytest.importorskip("matplotlib")

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for method in ("erm", "crt"):
        for seed in range(3):
            record(method, seed, spread=0.05).save(tmp_path / "outputs" / f"{method}{seed}")
    return tmp_path / "outputs"


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_each_table_has_a_figure_of_classes_and_a_figure_of_groups(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    run = record("erm", dataset="odd / name $x", counts=[500, 400])
    run.predictors["plain"]["splits"]["test"]["per_class"][1] = None  # a class without test images
    run.save(outputs / "odd")
    assert main([str(outputs), "--plots", str(tmp_path / "figures")]) == 0
    assert files(tmp_path / "figures") == [
        "1-cifar100_lt-classes.png", "1-cifar100_lt-groups.png", "2-odd_name_x-classes.png", "2-odd_name_x-groups.png",
    ]  # fmt: skip
    told = capsys.readouterr().err
    for file in (tmp_path / "figures").iterdir():
        assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 5000
        assert f"{file} written" in told


@pytest.mark.parametrize("formats", [["--format", "pdf,SVG"], ["--format", "pdf", "--format", "SVG"]])
def test_figures_are_written_in_several_formats(outputs: Path, tmp_path: Path, formats: list[str]) -> None:
    assert main([str(outputs), "--plots", str(tmp_path / "figures"), *formats]) == 0
    stems = ("1-cifar100_lt-classes", "1-cifar100_lt-groups")
    assert files(tmp_path / "figures") == [f"{stem}.{ending}" for stem in stems for ending in ("pdf", "svg")]
    assert (tmp_path / "figures" / f"{stems[0]}.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (tmp_path / "figures" / f"{stems[0]}.svg").read_bytes()


@pytest.mark.parametrize("name", ["x.pdf", "new/x.svg", "x.y.PNG"])
def test_a_file_name_sets_name_and_format(outputs: Path, tmp_path: Path, name: str) -> None:
    assert main([str(outputs), "--plots", str(tmp_path / name)]) == 0
    place = tmp_path / name
    stem, ending = place.stem, place.suffix.lower()
    assert not place.exists()
    assert {f"{stem}-classes{ending}", f"{stem}-groups{ending}"} <= set(files(place.parent))


def test_a_file_name_for_several_tables_begins_their_names(outputs: Path, tmp_path: Path) -> None:
    record(dataset="other").save(outputs / "other")
    assert main([str(outputs), "--plots", str(tmp_path / "f" / "x.pdf")]) == 0
    assert files(tmp_path / "f")[0] == "x-1-cifar100_lt-classes.pdf" and len(files(tmp_path / "f")) == 4


def test_a_folder_with_the_name_of_a_file_is_a_folder(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pdf").mkdir()
    assert main([str(outputs), "--plots", str(tmp_path / "x.pdf")]) == 0
    assert files(tmp_path / "x.pdf") == ["1-cifar100_lt-classes.png", "1-cifar100_lt-groups.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plots", "x.pdf", "--format", "svg"], "x.pdf contradicts --format svg: leave out --format"),
        (["--plots", "x.jpg"], "figures are written as pdf, svg, png"),
        (["--format", "pdf"], "say where they go with --plots FOLDER"),
        (["--plots", "a_file"], "a_file is a file; name a folder, or a file that ends in .pdf, .svg, .png"),
    ],
)
def test_refusals_precede_the_table(
    outputs: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("mine")
    assert main([str(outputs), *words]) == 1
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.splitlines()) == 1
    assert files(tmp_path) == ["a_file", "outputs"] and (tmp_path / "a_file").read_text() == "mine"


@pytest.mark.parametrize(("format", "said"), [("latex", "a table as latex is --latex"), ("gif", "known: pdf, svg, png")])
def test_formats_of_tables_and_unknown_formats_are_refused(outputs: Path, capsys: Capture, format: str, said: str) -> None:
    with pytest.raises(SystemExit):
        main([str(outputs), "--plots", "f", "--format", format])
    assert said in capsys.readouterr().err


def test_without_matplotlib_a_sentence_says_how_to_install_it(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(outputs), "--plots", str(tmp_path / "f")]) == 1
    assert "pip install 'ltrun[plots]'" in capsys.readouterr().err


def test_an_unwritable_folder_is_a_sentence(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a_file").write_text("")
    assert main([str(outputs), "--plots", str(tmp_path / "a_file" / "figures")]) == 1
    assert "ltrun: " in capsys.readouterr().err.splitlines()[-1]


def test_equal_runs_give_equal_bytes_whatever_the_matplotlibrc(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    for place in ("one", "two"):
        assert main([str(outputs), "--plots", str(tmp_path / place), "--format", "pdf,svg,png"]) == 0
        monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    text = (tmp_path / "one" / "1-cifar100_lt-classes.pdf").read_bytes()
    assert b"/FontFile2" in text and b"/Type3" not in text and b"CreationDate" not in text


def test_figures_beside_costs_show_only_evaluated_runs(tmp_path: Path) -> None:
    record("erm", splits=("test", "val")).save(tmp_path / "outputs" / "erm")
    record("crt", dataset="other").save(tmp_path / "outputs" / "other")
    record("crt").save(tmp_path / "outputs" / "crt")
    arguments = [str(tmp_path / "outputs"), "--metric", "cost", "--split", "val", "--plots", str(tmp_path / "figures")]
    assert main(arguments) == 0
    assert files(tmp_path / "figures") == ["1-cifar100_lt-classes.png", "1-cifar100_lt-groups.png"]


def test_figures_over_several_data_sets_have_no_figure_of_classes(tmp_path: Path) -> None:
    record("erm", counts=[500, 400]).save(tmp_path / "a")
    record("erm", dataset="other", counts=[500, 400, 30]).save(tmp_path / "b")
    assert main([str(tmp_path), "--by", "dataset", "--plots", str(tmp_path / "figures")]) == 0
    assert files(tmp_path / "figures") == ["1-all_data_sets-groups.png"]


def test_letters_that_no_font_has_are_named(outputs: Path, tmp_path: Path, capsys: Capture) -> None:
    for i in range(2):
        run = record(seed=10 + i)
        run.classes["names"][0] = "\U00012000"  # cuneiform
        run.save(outputs / f"foreign{i}")
    assert main([str(outputs / "foreign0"), "--plots", str(tmp_path / "f")]) == 0
    err = capsys.readouterr().err
    assert "Warning" not in err and "matplotlib finds no font with \U00012000" in err
