"""Progress of a run: a bar on a terminal, lines elsewhere, the time left, and the metric of the task."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rich.console import Console

from ltrun.engine.progress import Bar, Fitted, describe_epoch, shortened
from ltrun.metrics import SINGLE_LABEL, TASKS, Metric
from ltrun.types import Clock

ACCURACY = TASKS[SINGLE_LABEL][0]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows the bar as on a terminal of 80 columns: a test has no terminal."""
    monkeypatch.setattr("ltrun.streams.is_live", lambda console: True)


class Seconds:
    """A clock that shows `now`, which a test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in ("engine.progress", "engine.course"):
            monkeypatch.setattr(f"ltrun.{module}.time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    return Seconds(monkeypatch)


def row(stage: str, epoch: int, epochs: int, **more: object) -> dict[str, object]:
    numbers = {"loss": 1.0, "learning_rate": 0.1, "images_per_second": 100.0}
    return {"stage": stage, "epoch": epoch, "epochs": epochs, **numbers, **more}


def test_the_time_left_after_a_resume_follows_the_pace_of_this_process(
    seconds: Seconds, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 210 epochs, an earlier process trained 190; this process trains two, in 30 s each."""
    progress = Bar()
    progress.start("erm", {"train": 200, "classifier": 10}, ACCURACY)
    for epoch in (191, 192):
        seconds.now += 30
        progress.epoch(row("train", epoch, 200, evaluation={}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("| 9m30s left") and lines[2].endswith("| 9m00s left")


@pytest.mark.usefixtures("terminal")
def test_the_bar_begins_where_the_earlier_process_ended() -> None:
    with Bar() as progress:
        progress.start("erm", {"train": 200}, ACCURACY)
        progress.epoch(row("train", 191, 200))
        assert progress.live is not None
        (task,) = progress.live.tasks
        assert (task.completed, task.total) == (191, 200)


@pytest.mark.usefixtures("terminal")
def test_the_bar_moves_within_an_epoch(seconds: Seconds) -> None:
    with Bar() as progress:
        progress.start("erm", {"train": 2}, ACCURACY)
        seconds.now += 60
        progress.step(Clock("train", 0, 2), 5, 10)
        assert progress.live is not None
        (task,) = progress.live.tasks
        assert (task.completed, task.fields["left"]) == (0.5, 180)


def test_a_long_epoch_prints_its_progress_at_growing_intervals(seconds: Seconds, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Bar()
    progress.start("erm", {"train": 2}, ACCURACY)
    for batch in range(1, 3601):
        seconds.now += 1
        progress.step(Clock("train", 0, 2), batch, 3600)
    title, first, *others = capsys.readouterr().out.splitlines()
    assert (title, first) == ("erm", "train 1/2 | batch 10 of 3,600 | 1h59m left")
    assert 20 < len(others) < 60, "lines of one hour"


def test_an_epoch_shows_the_metric_of_its_task() -> None:
    f1 = Metric("f1", "F1", "F1")
    line = describe_epoch(row("train", 1, 2, evaluation={"test": {"f1": 0.25}}), f1)
    assert line == "train 1/2 | loss 1.0000 | lr 0.1 | 100 images/s | test f1 25.0"


@pytest.mark.parametrize(
    ("width", "wanted", "dropped"),
    [
        (100, ["train 20/40", "loss 1.2345", "lr 0.1", "9000 images/s", "━", "20/40 1m05s left"], []),
        (60, ["train 20/40", "loss 1.2345", "lr 0.1", "━", "20/40 1m05s left"], ["images/s"]),
        (40, ["train 20/40", "━", "20/40 1m05s left"], ["images/s", "lr"]),
        (28, ["train 20/40", "20/40 1m05s left"], ["loss", "━"]),
    ],
)
def test_a_narrow_bar_drops_the_speed_first_and_never_the_time_left(width: int, wanted: list[str], dropped: list[str]) -> None:
    console = Console(width=width, color_system=None)
    with console.capture() as shown:
        console.print(Fitted(["train 20/40", "loss 1.2345", "lr 0.1", "9000 images/s"], 20, 40, "20/40 1m05s left"))
    (line,) = shown.get().rstrip("\n").splitlines()
    assert len(line) <= width
    assert all(text in line for text in wanted) and not any(text in line for text in dropped), line


def test_a_long_title_loses_its_middle() -> None:
    title = "erm [optimizer.lr=0.05, batch_size=32] on digits_lt, seed 7"
    short = shortened(title, 30)
    assert len(short) == 30 and short.startswith("erm [optim") and short.endswith("seed 7")
    assert shortened(title, 100) == title
