"""Reliability diagrams: bins over the runs of a row, panels, and runs without predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ltrun.commands.report import main
from ltrun.report.collect import collect
from ltrun.report.group import tables
from ltrun.report.reliable import reliabilities
from tests.support.predicted import save_run, scores_of, several_labels

COUNTS = [500, 300, 120, 100, 60, 20, 19, 5]
LABELS = np.repeat(np.arange(8), 25)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for method in ("erm", "crt"):
        for seed in (0, 1):
            save_run(tmp_path / "outputs", LABELS, {"plain": scores_of(LABELS, 8, seed)}, COUNTS, method=method, seed=seed)
    return tmp_path / "outputs"


def test_bins_are_over_the_images_of_all_runs_of_a_row(outputs: Path) -> None:
    (table,) = tables(collect([outputs])[0])
    found, lacking = reliabilities(table, table.rows)
    assert lacking == 0 and len(found) == 2
    right = sum((scores_of(LABELS, 8, seed).argmax(1) == LABELS).sum() for seed in (0, 1))
    assert found[0] is not None and found[0].images.sum() == 400 and found[0].right.sum() == right


def test_plots_write_a_diagram_and_say_which_runs_it_leaves_out(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    next((outputs / "cifar100_lt" / "erm").rglob("predictions.npz")).unlink()
    labels, scores = several_labels(40, 8)
    save_run(outputs, labels, {"plain": scores}, COUNTS, dataset="voc_lt")
    assert main([str(outputs), "--plots", str(tmp_path / "x.svg")]) == 0
    err = capsys.readouterr().err
    (file,) = tmp_path.glob("*-reliability.svg")
    assert b"<svg" in file.read_bytes() and "cifar100_lt" in file.name
    assert "cifar100_lt: the reliability diagram leaves out 1 of 4 runs, whose predictions.npz cannot be read" in err


def test_panels_show_their_error(outputs: Path) -> None:
    pytest.importorskip("matplotlib")
    from ltrun.report.figures import reliability

    (table,) = tables(collect([outputs])[0])
    found = [bins for bins in reliabilities(table, table.rows)[0] if bins is not None]
    figure = reliability(table, table.rows, found)
    shown = [(axes.get_title(loc="left"), axes.texts[0].get_text()) for axes in figure.axes if axes.get_visible()]
    assert shown == [(name, f"ECE {100 * bins.error:.1f}") for name, bins in zip(("ERM", "cRT"), found, strict=True)]
