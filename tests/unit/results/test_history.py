"""Lines and curves of a run that was interrupted, was restarted, or has a full disk."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from ltrun.results.curves import Curves
from ltrun.results.history import History

pytest.importorskip("tensorboard")


def row(epoch: int, stage: str = "train", loss: float = 1.0) -> dict[str, Any]:
    evaluation = {"test": {"accuracy": 0.5, "few": None}}
    return {"stage": stage, "epoch": epoch, "loss": loss, "learning_rate": 0.1, "evaluation": evaluation}


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns curve -> points, from all files that TensorBoard would read."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((folder / "tensorboard").iterdir()):
        for event in LegacyEventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, round(value.simple_value, 6)))
    return found


def test_a_resumed_run_draws_no_curve_over_the_one_before(tmp_path: Path) -> None:
    """The run was killed in epoch 4 of a later stage and resumes from epoch 2; the curves of the earlier stage remain."""
    first = History(tmp_path, tensorboard=True)
    for one in (row(1), row(2), row(1, "classifier"), row(2, "classifier"), row(3, "classifier")):
        first.append(one)
    second = History(tmp_path, tensorboard=True)
    for epoch in (2, 3, 4):
        second.append(row(epoch, "classifier", loss=0.5))
    found = curves(tmp_path)
    assert found["train/loss"] == [(1, 1.0), (2, 1.0)]
    assert found["classifier/loss"] == [(1, 1.0), (2, 0.5), (3, 0.5), (4, 0.5)]
    assert found["train/test/accuracy"] == [(1, 0.5), (2, 0.5)] and "train/test/few" not in found


def test_a_run_that_begins_anew_has_the_curves_of_the_new_run_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    for _ in range(2):
        history = History(tmp_path, tensorboard=True)
        for epoch in (1, 2):
            history.append(row(epoch))
    assert curves(tmp_path)["train/loss"] == [(1, 1.0), (2, 1.0)]
    (tmp_path / "tensorboard" / "notes.txt").touch()
    History(tmp_path, tensorboard=True).append(row(1))
    assert (tmp_path / "tensorboard" / "notes.txt").exists()


def test_a_full_disk_ends_the_curves_with_one_warning_and_not_the_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = History(tmp_path, tensorboard=True)
    history.append(row(1))
    assert history.curves is not None
    history.curves.file = Path("/dev/full")
    with caplog.at_level(logging.INFO, "ltrun"):
        for epoch in (2, 3):
            history.append(row(epoch))
    assert [record.message.count("No space left on device") for record in caplog.records] == [1]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_folder_for_curves_that_cannot_be_made_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    curves = Curves(tmp_path / "file" / "tensorboard")
    with caplog.at_level(logging.INFO, "ltrun"):
        curves.begin([row(1)])
        curves.draw(row(2))
    assert len(caplog.records) == 1


def test_a_line_says_when_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltrun.results.history.time.time", lambda: 1700000000.123)
    History(tmp_path, tensorboard=False).append(row(1))
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == row(1) | {"time": 1700000000.12}
