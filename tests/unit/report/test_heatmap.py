"""Heat maps of confusion: one for each row, with its matrix as CSV; many classes by shot group; names are never formulas."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltrun.commands.report import main
from ltrun.report.figures.heatmap import MOST, heat_map
from ltrun.report.plots import place_of, plot_confusion
from ltrun.report.render.csv import matrix
from tests.support.predicted import save_run, scores_of
from tests.unit.report.test_confusion import COUNTS, LABELS, outputs, read, scores

__all__ = ["outputs"]


def pixels(axes: Any) -> np.ndarray:
    """Returns the values that a map shows, nan for empty cells."""
    return np.ma.filled(axes.images[0].get_array().astype(float), np.nan)


Capture = pytest.CaptureFixture[str]


def test_the_matrix_reads_back(outputs: Path) -> None:
    (confusion,), _ = read(outputs)
    rows = list(csv.reader(io.StringIO("".join(matrix(confusion)))))
    assert rows[0][:3] == ["label", "training_images", "group"]
    assert rows[0][3:] == [row[0] for row in rows[1:]] == [f"class {c}" for c in confusion.order]
    assert [row[1] for row in rows[1:]] == [str(COUNTS[c]) for c in confusion.order]
    assert [row[2] for row in rows[1:]] == ["many"] * 3 + ["medium"] * 2 + ["few"] * 2
    values = np.array([[float(value) if value else np.nan for value in row[3:]] for row in rows[1:]])
    assert np.allclose(values, confusion.shares, atol=1e-5, equal_nan=True)


def test_the_map_shows_the_matrix_and_its_numbers(outputs: Path) -> None:
    (confusion,), _ = read(outputs)
    axes = heat_map(confusion).axes[0]
    assert np.allclose(pixels(axes), 100 * confusion.shares, equal_nan=True)
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"class {c}" for c in confusion.order]
    said = [text.get_text() for text in axes.texts]
    assert said[0] == f"{100 * confusion.shares[0, 0]:.0f}" and said[4 * 7 : 5 * 7] == ["–"] * 7


def test_many_classes_are_shown_by_shot_group(tmp_path: Path) -> None:
    classes = MOST + 1
    labels = np.arange(classes).repeat(2)
    save_run(tmp_path, labels, {"plain": scores_of(labels, classes)}, [200] * 50 + [50] * 30 + [5] * (classes - 80))
    (confusion,), _ = read(tmp_path)
    axes = heat_map(confusion).axes[0]
    assert np.allclose(pixels(axes), 100 * confusion.grouped())
    assert "Many\n> 100\n50 classes" in [label.get_text() for label in axes.get_yticklabels()]
    assert len(list(matrix(confusion))) == classes + 1


@pytest.mark.parametrize("classes", [2, 40, 41, MOST])
def test_every_number_of_classes_has_a_map(tmp_path: Path, classes: int) -> None:
    labels = np.arange(classes)
    save_run(tmp_path, labels, {"plain": scores_of(labels, classes)}, [7] * classes, names=[f"$x_{c}^" for c in labels])
    (confusion,), _ = read(tmp_path)
    plot_confusion([confusion], place_of(tmp_path / "figures", ["svg", "pdf"]))
    files = list((tmp_path / "figures").iterdir())
    assert {file.suffix for file in files} == {".svg", ".pdf", ".csv"} and all(file.stat().st_size for file in files)


def test_the_command_writes_both_and_prints_the_table(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs), "--confusion", str(outputs / "figures")]) == 0
    out, err = capsys.readouterr()
    assert "Many" in out
    assert {file.suffix for file in (outputs / "figures").iterdir()} == {".png", ".csv"} and err.count("written") == 2


def test_figures_can_have_a_file_name_and_a_format(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs), "--confusion", str(outputs / "figures" / "x.pdf")]) == 0
    assert {file.name for file in (outputs / "figures").iterdir()} == {"x-confusion.pdf", "x-confusion.csv"}
    assert main([str(outputs), "--confusion", str(outputs / "x.gif")]) == 1
    assert "--confusion" in capsys.readouterr().err
    assert main([str(outputs), "--format", "svg"]) == 1
    assert "--plots FOLDER or --confusion FOLDER" in capsys.readouterr().err


def test_the_command_prints_values_of_classes_in_every_format(outputs: Path, capsys: Capture) -> None:
    assert main([str(outputs), "--per-class"]) == 0
    assert "Precision" in capsys.readouterr().out
    for name, start in {"markdown": "### CIFAR-100-LT: ERM", "latex": "% needs"}.items():
        assert main([str(outputs), "--per-class", f"--{name}"]) == 0
        assert capsys.readouterr().out.startswith(start)
    assert main([str(outputs), "--per-class", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 3 * 7
    recall = next(row for row in rows if row["class"] == "class 1" and row["group"] == "recall")
    means = [np.mean(scores(seed).argmax(1)[LABELS == 1] == 1) for seed in range(3)]
    assert float(recall["mean"]) == pytest.approx(100 * np.mean(means))
    assert (recall["training_images"], recall["test_images"], recall["n"]) == ("500", "5", "3")


def test_without_predictions_the_command_says_where_to_find_them(outputs: Path, capsys: Capture) -> None:
    for file in outputs.rglob("predictions.npz"):
        file.unlink()
    assert main([str(outputs), "--per-class"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("predictions.npz is missing") == 3 and "no run has its predictions.npz" in err
