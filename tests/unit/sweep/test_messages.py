"""Messages from the jobs of a sweep, and their display with and without a terminal."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from ltrun.config.job import Job
from ltrun.metrics import SINGLE_LABEL, TASKS
from ltrun.sweep.messages import Advanced, Cautioned, Finished, Logged, LogRelay, Message, Relay
from ltrun.sweep.overview import Overview
from ltrun.types import Clock
from tests.support.cases import composed

TITLE = "erm [augmentation=[cmo]] on digits_lt, seed 0"  # brackets are no markup
ROW = {"loss": 1.0, "learning_rate": 0.1, "images_per_second": 100.0}


def test_a_job_counts_the_epochs_of_all_stages() -> None:
    sent: list[Message] = []
    relay = Relay(sent.append)
    relay.start("crt", {"train": 4, "classifier": 2}, TASKS[SINGLE_LABEL][0])
    relay.epoch({"stage": "train", "epoch": 4, "epochs": 4, **ROW})
    relay.epoch({"stage": "classifier", "epoch": 2, "epochs": 2, **ROW})
    relay.warn("twice")
    LogRelay(sent.append).handle(logging.makeLogRecord({"msg": "decoding %s", "args": ("photos",)}))
    first, second, *others = sent
    assert isinstance(first, Advanced) and (first.done, first.total) == (4, 6)
    assert isinstance(second, Advanced) and (second.done, second.total, second.left) == (6, 6, 0)
    assert second.text == "classifier 2/2 | loss 1.0000 | lr 0.1 | 100 images/s"
    assert others == [Cautioned("twice"), Logged("decoding photos")]


def test_a_job_reports_progress_within_a_long_epoch_but_not_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    for module in ("sweep.messages", "engine.course"):
        monkeypatch.setattr(f"ltrun.{module}.time", SimpleNamespace(monotonic=lambda: now))
    sent: list[Message] = []
    relay = Relay(sent.append)
    relay.start("erm", {"train": 2}, TASKS[SINGLE_LABEL][0])
    for batch in range(1, 101):
        now += 0.01
        relay.step(Clock("train", 0, 2), batch, 100)
    assert [message.done for message in sent if isinstance(message, Advanced)] == [0.5, 1.0]


@pytest.fixture
def jobs() -> list[Job]:
    """Two jobs with the same title, as in a sweep over outputs."""
    config, choices = composed()
    changes = {"augmentation": "[cmo]"}
    return [Job(config, choices, changes, "erm", "digits_lt", "01234567", Path(folder), "plain") for folder in ("a", "b")]


def test_without_a_terminal_a_job_prints_a_line_when_it_ends(jobs: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = jobs
    with Overview(total=4, ended=1) as overview:
        for job in jobs:
            overview.begin(job)
        overview.show(second, Cautioned("twice"))
        overview.show(first, Logged("decoding"))
        overview.show(first, Advanced(1, 6, 50, "train 1/6"))
        overview.show(first, Finished("all 43.1"))
        overview.end(second, done=False)
        overview.end(first, done=True)
    lines = [f"warning: {TITLE}: twice", f"{TITLE}: decoding", f"3/4 {TITLE} | all 43.1"]
    assert capsys.readouterr().out.splitlines() == lines


def test_on_a_terminal_every_running_job_has_a_bar(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltrun.streams.is_live", lambda console: True)
    with Overview(total=4, ended=1) as overview:
        for done, job in enumerate(jobs):
            overview.begin(job)
            overview.show(job, Advanced(done, 6, 50, "train 1/6"))
        assert overview.live is not None
        assert [(task.completed, task.total) for task in overview.live.tasks] == [(1, 4), (0, 6), (1, 6)]
        overview.end(jobs[0], done=True)
        assert [(task.completed, task.total) for task in overview.live.tasks] == [(2, 4), (1, 6)]


def test_without_a_terminal_every_running_job_prints_a_line_every_ten_seconds(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("ltrun.sweep.overview.time", SimpleNamespace(monotonic=lambda: now))
    with Overview(total=2, ended=0) as overview:
        for job in jobs:
            overview.begin(job)
        for epoch in range(1, 100):
            now += 0.5
            for job in jobs:
                overview.show(job, Advanced(epoch, 100, 50 - now, f"train {epoch}/100"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{TITLE} | train {e}/100 | {50 - e / 2:.1f}s left" for e in (20, 40, 60, 80) for _ in jobs]


def test_a_message_that_every_job_sends_is_printed_once(jobs: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    with Overview(total=2, ended=0) as overview:
        for job in jobs:
            overview.begin(job)
            overview.show(job, Logged("files cannot be locked"))
    assert capsys.readouterr().out.splitlines() == [f"{TITLE}: files cannot be locked"]
