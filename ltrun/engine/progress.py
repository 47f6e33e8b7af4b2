"""Progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ltrun.metrics import SINGLE_LABEL, TASKS
from ltrun.results.record import RunRecord

QUIET_SECONDS = 30  # without a terminal, epochs that are not evaluated print a line at most this often
SHOWN = TASKS[SINGLE_LABEL][0]  # with its shot groups


class Reporter(Protocol):
    """Whom a run tells how far it is. console: where the description of its data set is printed."""

    console: Console

    def warn(self, sentence: str) -> None: ...

    def start(self, title: str, stages: Mapping[str, int]) -> None:
        """title: of the run. stages: their epochs, in order."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """row: a line of metrics.jsonl."""

    def finish(self, record: RunRecord) -> None: ...


class Bar:
    """Shows epochs as they end. Use as a context manager, so that the bar is put away whatever happens."""

    def __init__(self) -> None:
        self.console = Console()
        self.live: Progress | None = None
        self.printed = 0.0
        self.first: int | None = None  # epochs that were done when this process began

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def warn(self, sentence: str) -> None:
        warn(self.console, sentence)

    def start(self, title: str, stages: Mapping[str, int]) -> None:
        say(self.console, title, style="bold")
        self.count = EpochCount(stages)
        self.began, self.first = time.monotonic(), None
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.live = Progress(*columns, console=self.console)
            self.task = self.live.add_task("", total=self.count.total)
            self.live.start()

    def epoch(self, row: Mapping[str, Any]) -> None:
        done, now = self.count.done(row), time.monotonic()
        if self.first is None:
            self.first = done - 1
            if self.live is not None:
                self.live.reset(self.task, completed=self.first)
        line = describe_epoch(row)
        evaluated = "evaluation" in row
        if self.live is not None:
            self.live.update(self.task, completed=done, description=line.split(" | test")[0].split(" | val")[0])
            if evaluated:
                say(self.console, line)
        elif evaluated or now - self.printed > QUIET_SECONDS:
            self.printed = now
            left = (self.count.total - done) * (now - self.began) / (done - self.first)
            say(self.console, f"{line} | {duration(left)} left")

    def finish(self, record: RunRecord) -> None:
        self.__exit__()
        say(self.console, f"done: {describe_result(record)}")


class EpochCount:
    """Epochs of a run, its stages one after the other. total: of all stages."""

    def __init__(self, stages: Mapping[str, int]) -> None:
        totals = [0, *accumulate(stages.values())]
        self.before, self.total = dict(zip(stages, totals, strict=False)), totals[-1]

    def done(self, row: Mapping[str, Any]) -> int:
        """Epochs up to this one, those of earlier stages and of an earlier process included."""
        return self.before[row["stage"]] + int(row["epoch"])


def say(console: Console, text: str, style: str | None = None) -> None:
    """Prints text as it is: no markup, no colours of numbers, no breaks at the console's width."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def warn(console: Console, sentence: str) -> None:
    say(console, f"warning: {sentence}", style="yellow")


def show_log() -> None:
    """Prints what ltrun's modules log while a run is prepared, such as that images are being decoded."""
    logger, handler = logging.getLogger("ltrun"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def describe_epoch(row: Mapping[str, Any]) -> str:
    line = (
        f"{row['stage']} {row['epoch']}/{row['epochs']} | loss {row['loss']:.4f} | lr {row['learning_rate']:.2g} | "
        f"{row['images_per_second']:.0f} images/s"
    )
    return line + "".join(f" | {split} {shots(metrics)}" for split, metrics in row.get("evaluation", {}).items())


def describe_result(record: RunRecord) -> str:
    """'all 43.1 many 65.0 medium 40.2 few – | 3m20s': the test split by the headline predictor, and the time of training."""
    metrics = record.predictors[record.headline]["splits"]["test"]
    lost = record.provenance.get("lost_rows", {})
    return f"{shots(metrics)} | {duration(record.provenance['seconds'])}" + (
        f" | without row {', '.join(lost)}" if lost else ""
    )


def shots(metrics: Mapping[str, float | None]) -> str:
    """'all 43.1 many 65.0 medium 40.2 few –', in percent."""
    found = ((head.lower(), key, metrics[key]) for key, head in SHOWN.columns.items())
    return " ".join(f"{head} {'–' if value is None else f'{SHOWN.shown(value, key):.1f}'}" for head, key, value in found)


def duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{whole % 60:02d}s" if minutes else f"{seconds:.1f}s"
