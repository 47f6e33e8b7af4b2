"""Messages from a process that trains to the process that draws."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from ltrun.engine.progress import EpochCount, describe_result
from ltrun.results.record import RunRecord


@dataclass(frozen=True)
class Cautioned:
    """A warning of a run."""

    sentence: str


@dataclass(frozen=True)
class Logged:
    """A line of ltrun's log."""

    text: str


@dataclass(frozen=True)
class Advanced:
    """Epochs of a run that are done, and all its epochs."""

    done: int
    total: int


@dataclass(frozen=True)
class Finished:
    """A run has written its result. text: its accuracies and its time."""

    text: str


@dataclass(frozen=True)
class Ended:
    """A job has ended and left its outcome in its folder. failure: for a folder that could not be written to."""

    failure: str | None


Shown = Cautioned | Logged | Advanced | Finished
Message = Shown | Ended


class Relay:
    """A Reporter that sends what a run tells it."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.send, self.console = send, Console(quiet=True)

    def warn(self, sentence: str) -> None:
        self.send(Cautioned(sentence))

    def start(self, title: str, stages: Mapping[str, int]) -> None:
        self.count = EpochCount(stages)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.send(Advanced(self.count.done(row), self.count.total))

    def finish(self, record: RunRecord) -> None:
        self.send(Finished(describe_result(record)))


class LogRelay(logging.Handler):
    """Sends what is logged."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__()
        self.send = send

    def emit(self, record: logging.LogRecord) -> None:
        self.send(Logged(record.getMessage()))
