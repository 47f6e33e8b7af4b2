"""What a sweep of several jobs at once shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ltrun.engine.progress import Progress, duration, shots
from ltrun.results.record import RunRecord


class Relay(Progress):
    """What a run in a process of its own tells the process that draws: the name of a method of Overview, and its arguments."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self.tell, self.bar = tell, None
        self.console = Console(quiet=True)

    def say(self, text: str, style: str | None = None) -> None:
        pass

    def warn(self, sentence: str) -> None:
        self.tell("caution", sentence)

    def start(self, title: str, stages: Mapping[str, int]) -> None:
        self.count(stages)

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.tell("advance", self.done(row), self.epochs)

    def finish(self, record: RunRecord) -> None:
        metrics = record.predictors[record.headline]["splits"]["test"]
        self.tell("result", f"{shots(metrics)} | {duration(record.provenance['seconds'])}")


class Overview(Progress):
    """What a sweep of several jobs at once shows: a line for each that ends and, on a terminal, a bar for each that runs.

    A job is named by its title. total: how many there are.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total, self.ended = total, 0
        self.results: dict[str, str] = {}
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Overview:
        if self.console.is_terminal:
            description = TextColumn("{task.description}", markup=False)
            columns = (description, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self.bar = Bar(*columns, console=self.console)
            self.all = self.bar.add_task("all jobs", total=self.total)
            self.bar.start()
        return self

    def begin(self, title: str) -> None:
        if self.bar is not None:
            self.tasks[title] = self.bar.add_task(title, total=None)

    def log(self, title: str, text: str) -> None:
        self.say(f"{title}: {text}")

    def caution(self, title: str, sentence: str) -> None:
        self.warn(f"{title}: {sentence}")

    def advance(self, title: str, done: int, epochs: int) -> None:
        if self.bar is not None:
            self.bar.update(self.tasks[title], completed=done, total=epochs)

    def result(self, title: str, text: str) -> None:
        self.results[title] = text

    def end(self, title: str, failure: str | None) -> None:
        """A job that failed is told of by whoever notes its failure."""
        self.skip()
        if self.bar is not None:
            self.bar.remove_task(self.tasks.pop(title))
        if failure is None:
            self.say(f"{self.ended}/{self.total} {title} | {self.results.pop(title, '')}")

    def skip(self) -> None:
        """One more has ended, of which nothing is to be said."""
        self.ended += 1
        if self.bar is not None:
            self.bar.update(self.all, completed=self.ended)
