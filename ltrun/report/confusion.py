"""Confusion matrices for the rows of a table: the classes that the test images of each class are predicted as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import ConfigError, LtrunError
from ltrun.metrics import GROUPS, Shots
from ltrun.report.table import Row, Table
from ltrun.results.predictions import Integers, predictions_of
from ltrun.results.record import RunRecord

Fractions = NDArray[np.float64]
RIGHT = "Right"


@dataclass(frozen=True, eq=False)
class Confusion:
    """The confusion matrix of a row of a table.

    names, images: the name and the number of training images of each of the C classes. runs: (labels, predicted) of each run,
    (N,) each.
    """

    table: Table
    row: Row
    names: tuple[str, ...]
    images: Integers
    shots: Shots
    runs: tuple[tuple[Integers, Integers], ...]

    @property
    def title(self) -> str:
        return f"{self.table.title}: {', '.join(self.row.names)}"

    @property
    def heading(self) -> str:
        """The title, with the name that papers give the data set."""
        return f"{self.table.heading}: {', '.join(self.row.names)}"

    @cached_property
    def order(self) -> Integers:
        """(C,) classes by their number of training images, largest first; ties in label order."""
        return np.argsort(-self.images, kind="stable")

    @cached_property
    def groups(self) -> Integers:
        """(C,) shot group of each class: 0 for many, 1 for medium, 2 for few."""
        return np.array([list(GROUPS).index(self.shots.group(n)) for n in self.images.tolist()])

    def rows(self) -> Iterator[Fractions]:
        """Yields, label by label, the (C,) shares of its images predicted as each class, mean over the runs, all by class size.

        A class without test images has nan. The whole matrix of 8,142 classes would take half a gigabyte.
        """
        classes, runs = len(self.names), []
        for labels, predicted in self.runs:
            by_label = np.argsort(labels, kind="stable")
            ends = np.cumsum(np.bincount(labels, minlength=classes))
            runs.append((predicted[by_label], ends))
        for c in self.order.tolist():
            counts = (np.bincount(row[ends[c - 1] if c else 0 : ends[c]], minlength=classes) for row, ends in runs)
            total = sum(_by_row(count[None])[0] for count in counts)
            yield np.asarray(total / len(runs))[self.order]

    @cached_property
    def shares(self) -> Fractions:
        """(C, C): all `rows`, for few classes."""
        return np.stack(list(self.rows()))

    def grouped(self) -> Fractions:
        """Returns (3, 4) mean shares over the classes of each shot group (row), mean over the runs.

        Columns: images predicted right, and images predicted as another class of each group. A group without test images has
        nan.
        """
        total = sum(self._grouped(run) for run in range(len(self.runs)))
        return np.asarray(total / len(self.runs))

    def _grouped(self, run: int) -> Fractions:
        labels, predicted = self.runs[run]
        column = np.where(labels == predicted, 0, 1 + self.groups[predicted])
        each = np.bincount(labels * 4 + column, minlength=len(self.names) * 4).reshape(-1, 4)
        shares = _by_row(each)
        means = np.full((len(GROUPS), 4), np.nan)
        for group in range(len(GROUPS)):
            some = shares[(self.groups == group) & (each.sum(1) > 0)]
            if len(some):
                means[group] = some.mean(0)
        return means

    def by_class(self) -> Iterator[tuple[int, int, Fractions]]:
        """Yields class, number of test images, and (runs, 3) precision, recall and F1, most frequent class first.

        Precision is nan if the class is never predicted, recall if it has no test images, F1 if both hold.
        """
        each = np.stack([_scores(*run, len(self.names)) for run in self.runs], axis=1)
        support = np.bincount(self.runs[0][0], minlength=len(self.names))
        for c in self.order.tolist():
            yield c, int(support[c]), each[c]


def confusions(tables: Sequence[Table]) -> tuple[list[Confusion], list[str]]:
    """Returns the confusion of each row whose runs kept their predictions, and sentences on runs that are left out.

    Raises ConfigError for a split other than test, because runs keep no predictions of it.
    """
    found: list[Confusion] = []
    notes: dict[str, None] = {}
    for table in tables:
        if table.split != "test":
            raise ConfigError(f"--split {table.split}: runs keep their predictions of the test split only; leave it out")
        for row in table.rows:
            read: list[tuple[RunRecord, tuple[Integers, Integers]]] = []
            for record, predictor in row.runs:
                try:
                    kept = predictions_of(record, record.path.parent if record.path else Path(), predictor)
                except LtrunError as error:
                    notes[f"{error}. The run is left out"] = None
                else:
                    read.append((record, (kept.labels, kept.predicted)))
            if any(record.classes != read[0][0].classes for record, _ in read):
                notes[f"{', '.join(row.names)} is left out: its runs differ in classes; add a dataset key to --by"] = None
            elif read:
                record = read[0][0]
                counts = np.array(record.classes["counts"])
                runs, names = tuple(run for _, run in read), tuple(record.classes["names"])
                found.append(Confusion(table, row, names, counts, Shots.of(record.config), runs))
    return found, list(notes)


def _by_row(counts: Integers) -> Fractions:
    """Returns the counts as fractions of the sum of their row; nan for a row of zeros."""
    sums = counts.sum(1, keepdims=True)
    return np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)


def _scores(labels: Integers, predicted: Integers, classes: int) -> Fractions:
    """Returns (C, 3) precision, recall and F1 of each class; nan for 0 / 0."""
    right = np.bincount(labels[labels == predicted], minlength=classes)
    taken, there = np.bincount(predicted, minlength=classes), np.bincount(labels, minlength=classes)
    above = np.stack([right, right, 2 * right], axis=1)
    below = np.stack([taken, there, taken + there], axis=1)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
