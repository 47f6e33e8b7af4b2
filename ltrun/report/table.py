"""Tables of results: rows of cells, each with the mean and standard deviation over runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ltrun.metrics import is_number
from ltrun.report.measure import Column, Measure
from ltrun.results.record import RunRecord
from ltrun.statistics.means import Better, Sample, Verdict, verdict

Mark = Literal["best", "second", ""]  # of a number in a column
DAGGER = "†"
SAW_TEST = f"{DAGGER} saw test inputs"
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """A number of a table. values: one for each run that has the number, none for a group without classes.

    percent: whether values are in percent, else they are in the unit of the heading.
    """

    values: tuple[float, ...]
    percent: bool = True

    @classmethod
    def of(cls, column: Column, found: Iterable[Any]) -> Cell:
        """Makes a cell from the records' values for the column, one for each run; values that are not numbers are left out."""
        values = (column.metric.shown(value, column.key) for value in found if is_number(value))
        return cls(tuple(values), column.metric.percent)

    @property
    def n(self) -> int:
        return len(self.values)

    @cached_property
    def mean(self) -> float | None:
        return math.fsum(self.values) / self.n if self.values else None

    @cached_property
    def std(self) -> float | None:
        """Standard deviation with n - 1 in the denominator; None for a single run."""
        if self.n < 2 or self.mean is None:
            return None
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values) / (self.n - 1))

    @property
    def sample(self) -> Sample | None:
        return None if self.mean is None else Sample(self.mean, self.std, self.n, self.text(self.mean))

    def text(self, value: float) -> str:
        """Returns a percentage with one decimal place, any other value with enough to show three digits of the mean."""
        size = abs(self.mean or 0.0)
        decimals = 1 if self.percent else max(0, 2 - math.floor(math.log10(size))) if size else 2
        return f"{value:.{decimals}f}"


Scored = tuple[RunRecord, str]  # a record and one of its predictors


@dataclass(frozen=True)
class Row:
    """A row of a table. names: one for each of the table's heads. keys: key -> value that its runs share, as typed.

    runs: the runs that it averages. saw_test: whether a predictor of theirs saw test inputs. beside: texts behind the numbers,
    one for each of the table's `beside`.
    """

    names: tuple[str, ...]
    keys: Mapping[str, str]
    cells: tuple[Cell, ...]
    runs: tuple[Scored, ...]
    saw_test: bool
    beside: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return len(self.runs)


@dataclass(frozen=True)
class Table:
    """Rows that may be compared, because their runs had the same data.

    title: the data set and its changes, as typed. heading: the title with the name that papers give the data set. heads:
    headings of the names. beside: headings of texts behind the numbers, such as published numbers.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    measure: Measure
    split: str
    notes: tuple[str, ...]
    caption: str
    heading: str
    beside: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings of the numbers."""
        return tuple(column.head for column in self.measure.columns)

    def verdict(self, column: int) -> Verdict | None:
        """Returns the verdict on the best mean of a column, among the rows that did not see test inputs."""
        cells = {i: row.cells[column] for i, row in enumerate(self.rows) if not row.saw_test}
        return verdict_on(cells, self.measure.columns[column].metric.better)

    def best(self, column: int) -> set[int]:
        """Returns the row to print bold: the best, if it differs from the second by more than the noise of their runs."""
        found = self.verdict(column)
        return {found.best} if found and found.kind == "better" else set()

    def marks(self, column: int) -> dict[int, Mark]:
        """Returns row -> its mark; only where the best differs from the second by more than noise."""
        found = self.verdict(column)
        return {found.best: "best", found.second: "second"} if found and found.kind == "better" else {}


def verdict_on(cells: Mapping[int, Cell], better: Better) -> Verdict | None:
    """Returns the verdict on cells, row -> cell, of the rows that may be compared."""
    return verdict({i: cell.sample for i, cell in cells.items() if cell.sample}, better)
