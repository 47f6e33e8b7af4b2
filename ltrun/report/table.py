"""A table: rows of cells, each a mean over runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ltrun.results.record import RunRecord

DAGGER = "†"
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Metric:
    """title: for the caption. columns: heading -> key in the record. complement: the record's value is 1 - this one.

    cost: of the training, not of its predictions, and in the units of the headings.
    """

    title: str
    columns: Mapping[str, str]
    complement: frozenset[str] = frozenset()
    lower_is_better: bool = False
    cost: bool = False


GROUPS = {"Many": "many", "Medium": "medium", "Few": "few"}
METRICS = {
    "accuracy": Metric("Top-1 accuracy", {"All": "accuracy", **GROUPS}),
    "error": Metric("Top-1 error", {"All": "error", **GROUPS}, frozenset(GROUPS.values()), lower_is_better=True),
    "macro": Metric("Macro accuracy", {"Macro": "macro", **GROUPS}),
    "ece": Metric("Expected calibration error", {"ECE": "ece"}, lower_is_better=True),
    "cost": Metric(
        "Cost of training",
        {"s/epoch": "seconds_per_epoch", "s": "seconds", "images/s": "images_per_second", "peak MiB": "peak_memory_bytes"},
        cost=True,
    ),
}
UNITS = {"peak_memory_bytes": 2**-20}


@dataclass(frozen=True)
class Cell:
    """values: percent, or what the heading says; one for each run that has the number, none for a group without classes."""

    values: tuple[float, ...]
    percent: bool = True

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float | None:
        return math.fsum(self.values) / self.n if self.values else None

    @cached_property
    def std(self) -> float | None:
        """With n - 1 in the denominator; None for a single run."""
        if self.n < 2 or self.mean is None:
            return None
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values) / (self.n - 1))

    def text(self, value: float) -> str:
        """One decimal place of a percentage; of anything else as many as show three digits of the mean."""
        size = abs(self.mean or 0.0)
        decimals = 1 if self.percent else max(0, 2 - math.floor(math.log10(size))) if size else 2
        return f"{value:.{decimals}f}"


Scored = tuple[RunRecord, str]  # a record and one of its predictors


@dataclass(frozen=True)
class Row:
    """names: one for each of the table's heads. keys: what the row stands for, column by column, for CSV. runs: averaged."""

    names: tuple[str, ...]
    keys: Mapping[str, str]
    cells: tuple[Cell, ...]
    runs: tuple[Scored, ...]
    saw_test: bool

    @property
    def n(self) -> int:
        return len(self.runs)


@dataclass(frozen=True)
class Table:
    """Rows that may be compared: one data set as one group of runs had it."""

    title: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    metric: str
    split: str
    caption: str
    notes: tuple[str, ...]

    def best(self, column: int) -> set[int]:
        """Rows whose printed mean is the best of those that did not see test inputs; none if there is nothing to compare."""
        means = {i: row.cells[column].mean for i, row in enumerate(self.rows) if not row.saw_test}
        printed = {i: round(mean, 1) for i, mean in means.items() if mean is not None}
        if len(printed) < 2 or METRICS[self.metric].cost:
            return set()
        top = (min if METRICS[self.metric].lower_is_better else max)(printed.values())
        return {i for i, mean in printed.items() if mean == top}
