"""What a run shows while it trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ltrun.record import RunRecord

QUIET_SECONDS = 30  # without a terminal, epochs that are not evaluated print a line at most this often
SHOTS = ("accuracy", "many", "medium", "few")


class Progress:
    """Shows epochs as they end. Use as a context manager, so that the bar is put away whatever happens."""

    def __init__(self) -> None:
        self.console = Console()
        self.bar: Bar | None = None
        self.printed = 0.0
        self.first: int | None = None  # epochs that were done when this process began

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def warn(self, sentence: str) -> None:
        self.say(f"warning: {sentence}", style="yellow")

    def start(self, title: str, stages: Mapping[str, int]) -> None:
        """title: what is trained. stages: their epochs, in order."""
        self.say(title, style="bold")
        self.count(stages)
        self.began, self.first = time.monotonic(), None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Bar(*columns, console=self.console)
            self.task = self.bar.add_task("", total=self.epochs)
            self.bar.start()

    def count(self, stages: Mapping[str, int]) -> None:
        totals = [0, *accumulate(stages.values())]
        self.before, self.epochs = dict(zip(stages, totals, strict=False)), totals[-1]

    def done(self, row: Mapping[str, Any]) -> int:
        """Epochs of all stages up to this one, those of an earlier process included."""
        return self.before[row["stage"]] + int(row["epoch"])

    def epoch(self, row: Mapping[str, Any]) -> None:
        done, now = self.done(row), time.monotonic()
        if self.first is None:
            self.first = done - 1
            if self.bar is not None:
                self.bar.reset(self.task, completed=self.first)
        line = describe_epoch(row)
        evaluated = "evaluation" in row
        if self.bar is not None:
            self.bar.update(self.task, completed=done, description=line.split(" | test")[0].split(" | val")[0])
            if evaluated:
                self.say(line)
        elif evaluated or now - self.printed > QUIET_SECONDS:
            self.printed = now
            left = (self.epochs - done) * (now - self.began) / (done - self.first)
            self.say(f"{line} | {duration(left)} left")

    def finish(self, record: RunRecord) -> None:
        self.__exit__()
        metrics = record.predictors[record.headline]["splits"]["test"]
        self.say(f"done: {shots(metrics)} | {duration(record.provenance['seconds'])}")


def describe_epoch(row: Mapping[str, Any]) -> str:
    line = (
        f"{row['stage']} {row['epoch']}/{row['epochs']} | loss {row['loss']:.4f} | lr {row['learning_rate']:.2g} | "
        f"{row['images_per_second']:.0f} images/s"
    )
    return line + "".join(f" | {split} {shots(metrics)}" for split, metrics in row.get("evaluation", {}).items())


def shots(metrics: Mapping[str, float | None]) -> str:
    """'all 43.1 many 65.0 medium 40.2 few –', in percent."""
    values = ((name, metrics[name]) for name in SHOTS)
    return " ".join(f"{'all' if n == 'accuracy' else n} {'–' if v is None else f'{100 * v:.1f}'}" for n, v in values)


def duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{whole % 60:02d}s" if minutes else f"{seconds:.1f}s"


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
