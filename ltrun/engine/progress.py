"""Progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ltrun import streams
from ltrun.engine.course import Course, Pace, duration
from ltrun.metrics import Metric
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from ltrun.types import Clock

REDRAWN = 0.5  # seconds between two updates inside an epoch
LEAST_BAR, MOST_BAR = 5, 40  # characters


class Reporter(Protocol):
    """Receiver of a run's progress. console: where the description of the run's data set is printed."""

    console: Console

    def warn(self, sentence: str) -> None: ...

    def start(self, title: str, stages: Mapping[str, int], metric: Metric) -> None:
        """title: name of the run. stages: stage -> its epochs, in order. metric: the task's metric shown during training."""

    def step(self, clock: Clock, batch: int, batches: int) -> None:
        """Notes that `batch` of an epoch's `batches` are done. Called at every step, so it must return at once."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """row: a line of metrics.jsonl."""

    def finish(self, record: RunRecord) -> None: ...


class Bar:
    """Shows the progress of one run. Use it as a context manager, so that the bar is removed after an error too."""

    def __init__(self) -> None:
        self.console = streams.console()
        self.live: Progress | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def warn(self, sentence: str) -> None:
        warn(self.console, sentence)

    def start(self, title: str, stages: Mapping[str, int], metric: Metric) -> None:
        say(self.console, title, style="bold")
        self.course, self.metric = Course(stages), metric
        self.pace, self.looked, self.silent = Pace(self.course.began), self.course.began, True
        if streams.is_live(self.console):
            self.live = Progress(Line(), console=self.console)
            self.task = self.live.add_task("", total=self.course.total)
            self.live.start()

    def step(self, clock: Clock, batch: int, batches: int) -> None:
        now = time.monotonic()
        if now - self.looked < REDRAWN:
            return
        self.looked = now
        done = self.course.reach(clock.stage, clock.epoch + batch / batches)
        left = self.course.left(done, now)
        if self.live is not None:
            self.live.update(self.task, completed=done, left=left)
        elif self.pace.due(now):
            say(self.console, f"{within(clock, batch, batches)} | {duration(left)} left")

    def epoch(self, row: Mapping[str, Any]) -> None:
        now = time.monotonic()
        done = self.course.reach(row["stage"], row["epoch"])
        left, line = self.course.left(done, now), describe_epoch(row, self.metric)
        if self.live is not None:
            self.live.update(self.task, completed=done, facts=facts(row), left=left)
            if "evaluation" in row:
                say(self.console, line)
        elif "evaluation" in row or self.silent or self.pace.due(now):
            self.pace.told, self.silent = now, False
            say(self.console, f"{line} | {duration(left)} left")

    def finish(self, record: RunRecord) -> None:
        self.__exit__()
        say(self.console, f"done: {describe_result(record, self.metric)}")


class Line(ProgressColumn):
    """A column with a task's facts, bar, count and time left, fitted to the width of the screen."""

    def render(self, task: Task) -> Fitted:
        left = task.fields.get("left")
        count = f"{int(task.completed)}/{int(task.total)}" if task.total else ""
        right = " ".join(filter(None, (count, "" if left is None else f"{duration(left)} left")))
        return Fitted(task.fields.get("facts") or [task.description], task.completed, task.total, right)


class Fitted:
    """A line that fits its width: drops the last facts, then the bar, then the middle of the first fact; keeps `right`."""

    def __init__(self, facts: Sequence[str], completed: float, total: float | None, right: str) -> None:
        self.facts, self.completed, self.total, self.right = list(facts), completed, total, right

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(options.max_width, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room, shown = options.max_width - cell_len(self.right) - 1, self.facts
        while len(shown) > 1 and cell_len(" | ".join(shown)) > room - LEAST_BAR - 1:
            shown = shown[:-1]
        head = shortened(" | ".join(shown), max(room, 0))
        length = min(room - cell_len(head) - 1, MOST_BAR)
        grid = Table.grid(padding=(0, 1))
        bar = [ProgressBar(self.total, self.completed, length, pulse=self.total is None)] if length >= LEAST_BAR else []
        for _ in range(2 + len(bar)):
            grid.add_column(no_wrap=True)
        grid.add_row(Text(head), *bar, Text(self.right))
        yield grid


def shortened(text: str, width: int) -> str:
    """Returns the text in at most `width` cells. Cuts its middle, because titles of runs differ at their beginning and end."""
    if cell_len(text) <= width:
        return text
    if width < 5:
        return set_cell_size(text, width)
    tail = (width - 3) // 2
    return f"{set_cell_size(text, width - 3 - tail)}...{text[len(text) - tail :]}"


def say(console: Console, text: str, style: str | None = None) -> None:
    """Prints text as it is: without markup, coloured numbers, or line breaks at the console's width."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def warn(console: Console, sentence: str) -> None:
    say(console, f"warning: {sentence}", style="yellow")


def show_log() -> None:
    """Prints the log lines of ltrun's modules, such as "decoding 50,000 images"."""
    logger, handler = logging.getLogger("ltrun"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def facts(row: Mapping[str, Any]) -> list[str]:
    """Returns the facts of an epoch, the most important first: its number, loss, learning rate and speed."""
    numbers = f"loss {row['loss']:.4f}", f"lr {row['learning_rate']:.2g}", f"{row['images_per_second']:.0f} images/s"
    return [f"{row['stage']} {row['epoch']}/{row['epochs']}", *numbers]


def within(clock: Clock, batch: int, batches: int) -> str:
    return f"{clock.stage} {clock.epoch + 1}/{clock.epochs} | batch {batch:,} of {batches:,}"


def describe_epoch(row: Mapping[str, Any], metric: Metric) -> str:
    evaluated = row.get("evaluation", {}).items()
    return " | ".join([*facts(row), *(f"{split} {shots(metrics, metric)}" for split, metrics in evaluated)])


def describe_result(record: RunRecord, metric: Metric) -> str:
    """Returns 'all 43.1 many 65.0 medium 40.2 few – | 3m20s': the headline predictor on the test split, and its time."""
    metrics = record.predictors[record.headline]["splits"]["test"]
    lost = record.provenance.get("lost_rows", {})
    without = f" | without row {', '.join(lost)}" if lost else ""
    return f"{shots(metrics, metric)} | {duration(record.provenance['seconds'])}{without}"


def shots(metrics: Mapping[str, float | None], metric: Metric) -> str:
    """Returns 'all 43.1 many 65.0 medium 40.2 few –', in percent; an abbreviation, such as mAP, keeps its capitals."""
    found = ((head.lower() if head.istitle() else head, key, metrics[key]) for key, head in metric.columns.items())
    return " ".join(f"{head} {'–' if value is None else f'{metric.shown(value, key):.1f}'}" for head, key, value in found)
