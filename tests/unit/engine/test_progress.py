"""What a run says while it trains."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ltrun.engine.progress import Bar


def row(stage: str, epoch: int, epochs: int) -> dict[str, object]:
    numbers = {"loss": 1.0, "learning_rate": 0.1, "images_per_second": 100.0}
    return {"stage": stage, "epoch": epoch, "epochs": epochs, "evaluation": {}, **numbers}


def test_the_time_left_after_a_resume_is_that_of_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two epochs of 30 seconds each in this process, after 190 of another; 18 are left."""
    clock = iter([1000.0, 1030.0, 1060.0])
    monkeypatch.setattr("ltrun.engine.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    progress = Bar()
    progress.start("erm", {"train": 200, "classifier": 10})
    progress.epoch(row("train", 191, 200))
    progress.epoch(row("train", 192, 200))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("| 9m30s left") and lines[2].endswith("| 9m00s left")


def test_the_bar_begins_where_the_other_process_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bar() as progress:
        progress.start("erm", {"train": 200})
        progress.epoch(row("train", 191, 200))
        assert progress.live is not None
        (task,) = progress.live.tasks
        assert (task.completed, task.total) == (191, 200)
