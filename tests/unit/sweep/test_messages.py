"""What a job of a sweep tells the process that draws, and what that shows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ltrun.config.compose import Job
from ltrun.sweep.messages import Advanced, Cautioned, Finished, Logged, LogRelay, Message, Relay
from ltrun.sweep.overview import Overview
from tests.support.cases import composed

TITLE = "erm [augmentation=[cmo]] on digits_lt, seed 0"  # brackets are no markup
ROW = {"loss": 1.0, "learning_rate": 0.1, "images_per_second": 100.0}


def test_a_job_counts_the_epochs_of_all_stages() -> None:
    sent: list[Message] = []
    relay = Relay(sent.append)
    relay.start("crt", {"train": 4, "classifier": 2})
    relay.epoch({"stage": "train", "epoch": 4, "epochs": 4, **ROW})
    relay.epoch({"stage": "classifier", "epoch": 2, "epochs": 2, **ROW})
    relay.warn("twice")
    LogRelay(sent.append).handle(logging.makeLogRecord({"msg": "decoding %s", "args": ("photos",)}))
    assert sent == [Advanced(4, 6), Advanced(6, 6), Cautioned("twice"), Logged("decoding photos")]


@pytest.fixture
def jobs() -> list[Job]:
    """Of one title, as in a sweep over outputs."""
    config, choices = composed()
    changes = {"augmentation": "[cmo]"}
    return [Job(config, choices, changes, "erm", "digits_lt", "01234567", Path(folder), "plain") for folder in ("a", "b")]


def test_without_a_terminal_a_job_is_a_line_when_it_ends(jobs: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = jobs
    with Overview(total=4, ended=1) as overview:
        for job in jobs:
            overview.begin(job)
        overview.show(second, Cautioned("twice"))
        overview.show(first, Logged("decoding"))
        overview.show(first, Advanced(1, 6))
        overview.show(first, Finished("all 43.1"))
        overview.end(second, done=False)
        overview.end(first, done=True)
    lines = [f"warning: {TITLE}: twice", f"{TITLE}: decoding", f"3/4 {TITLE} | all 43.1"]
    assert capsys.readouterr().out.splitlines() == lines


def test_on_a_terminal_every_running_job_has_a_bar(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Overview(total=4, ended=1) as overview:
        for done, job in enumerate(jobs):
            overview.begin(job)
            overview.show(job, Advanced(done, 6))
        assert overview.live is not None
        assert [(task.completed, task.total) for task in overview.live.tasks] == [(1, 4), (0, 6), (1, 6)]
        overview.end(jobs[0], done=True)
        assert [(task.completed, task.total) for task in overview.live.tasks] == [(2, 4), (1, 6)]
