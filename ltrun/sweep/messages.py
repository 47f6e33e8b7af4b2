"""Messages from the processes that train to the process that displays their progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ltrun.engine.course import Course
from ltrun.engine.progress import REDRAWN, describe_epoch, describe_result, within
from ltrun.metrics import Metric
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from ltrun.types import Clock


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
    """Progress of a run. done, total: epochs. left: seconds. text: description of the current epoch."""

    done: float
    total: int
    left: float
    text: str


@dataclass(frozen=True)
class Finished:
    """A run has written its result. text: its accuracies and training time."""

    text: str


@dataclass(frozen=True)
class Ended:
    """A job has ended and left its outcome in its folder.

    failure: its reason, if the folder could not be written to. spoilt: whether its process should get no further jobs.
    """

    failure: str | None
    spoilt: bool = False


Shown = Cautioned | Logged | Advanced | Finished
Message = Shown | Ended


class Relay:
    """A Reporter that sends a run's reports as messages."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.send, self.console = send, Console(quiet=True)

    def warn(self, sentence: str) -> None:
        self.send(Cautioned(sentence))

    def start(self, title: str, stages: Mapping[str, int], metric: Metric) -> None:
        self.course, self.metric = Course(stages), metric
        self.looked = self.course.began

    def step(self, clock: Clock, batch: int, batches: int) -> None:
        now = time.monotonic()
        if now - self.looked >= REDRAWN:
            self.looked = now
            self._advance(self.course.reach(clock.stage, clock.epoch + batch / batches), now, within(clock, batch, batches))

    def epoch(self, row: Mapping[str, Any]) -> None:
        done = self.course.reach(row["stage"], row["epoch"])
        self._advance(done, time.monotonic(), describe_epoch(row, self.metric))

    def _advance(self, done: float, now: float, text: str) -> None:
        self.send(Advanced(done, self.course.total, self.course.left(done, now), text))

    def finish(self, record: RunRecord) -> None:
        self.send(Finished(describe_result(record, self.metric)))


class LogRelay(logging.Handler):
    """A logging handler that sends log lines as messages."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__()
        self.send = send

    def emit(self, record: logging.LogRecord) -> None:
        self.send(Logged(record.getMessage()))
