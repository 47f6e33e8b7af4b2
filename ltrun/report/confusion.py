"""Confusion matrices for the rows of a table: the classes that the test images of each class are predicted as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import ConfigError, LtrunError
from ltrun.metrics import GROUPS, Shots
from ltrun.report.counted import Counted, Fractions, counted, of_groups
from ltrun.report.table import Row, Scored, Table
from ltrun.results.predictions import Integers, predictions_of

Pair = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Confusion:
    """The confusion matrix of a row of a table. row: with the runs that kept their predictions alone.

    names, images: the name and the number of training images of each of the C classes. runs: (labels, predicted) of each run,
    (N,) each, or (N, C) bool for several labels per image.
    """

    table: Table
    row: Row
    names: tuple[str, ...]
    images: Integers
    shots: Shots
    runs: tuple[Pair, ...]

    @property
    def title(self) -> str:
        return f"{self.table.title}: {', '.join(self.row.names)}"

    @property
    def heading(self) -> str:
        """The title, with the name that papers give the data set."""
        return f"{self.table.heading}: {', '.join(self.row.names)}"

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.runs[0][0].ndim == 2

    @cached_property
    def counted(self) -> list[Counted]:
        """The counts of each run."""
        return [counted(*run, len(self.names)) for run in self.runs]

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

        A class without test images has nan. The whole matrix of 8,142 classes would take half a gigabyte. `SeveralLabels` says
        what the shares are where an image may have several labels.
        """
        for c in self.order.tolist():
            total = sum(run.row(c) for run in self.counted)
            yield np.asarray(total / len(self.runs))[self.order]

    @cached_property
    def shares(self) -> Fractions:
        """(C, C): all `rows`, for few classes."""
        return np.stack(list(self.rows()))

    def grouped(self) -> Fractions:
        """Returns (3, 4) mean shares over the classes of each shot group (row), mean over the runs.

        Columns: images predicted right, and images predicted as another class of each group, for several labels per image as at
        least one that is no label. A group without test images has nan.
        """
        return np.asarray(sum(of_groups(run, self.groups) for run in self.counted) / len(self.runs))

    def by_class(self) -> Iterator[tuple[int, int, Fractions]]:
        """Yields class, number of test images, and (runs, 3) precision, recall and F1, most frequent class first.

        Precision is nan if the class is never predicted, recall if it has no test images, F1 if both hold.
        """
        each = np.stack([run.scores() for run in self.counted], axis=1)
        support = self.counted[0].support
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
            read: list[tuple[Scored, Pair]] = []
            for record, predictor in row.runs:
                try:
                    kept = predictions_of(record, record.path.parent if record.path else Path(), predictor)
                except LtrunError as error:
                    notes[f"{error}. The run is left out"] = None
                else:
                    read.append(((record, predictor), (kept.labels, kept.predicted)))
            if any(record.classes != read[0][0][0].classes for (record, _), _ in read):
                notes[f"{', '.join(row.names)} is left out: its runs differ in classes; add a dataset key to --by"] = None
            elif read:
                record = read[0][0][0]
                counts, names = np.array(record.classes["counts"]), tuple(record.classes["names"])
                scored, runs = zip(*read, strict=True)
                found.append(Confusion(table, replace(row, runs=scored), names, counts, Shots.of(record.config), runs))
    return found, list(notes)
