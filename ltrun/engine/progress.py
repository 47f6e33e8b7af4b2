"""What a run shows while it trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ltrun.metrics import SINGLE_LABEL, TASKS
from ltrun.results.record import RunRecord

QUIET_SECONDS = 30  # without a terminal, epochs that are not evaluated print a line at most this often
SHOWN = TASKS[SINGLE_LABEL][0]  # with its shot groups


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
    found = ((head.lower(), key, metrics[key]) for key, head in SHOWN.columns.items())
    return " ".join(f"{head} {'–' if value is None else f'{SHOWN.shown(value, key):.1f}'}" for head, key, value in found)


def duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{whole % 60:02d}s" if minutes else f"{seconds:.1f}s"
