"""Differences of rows on the same seeds and test images, from the predictions that runs keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import ConfigError, DataError, LtrunError
from ltrun.metrics import BALANCED, COMPARED, MULTI_LABEL, SINGLE_LABEL, Shots
from ltrun.report.measure import Column
from ltrun.report.sides import Contest
from ltrun.report.table import Row, Table
from ltrun.results.predictions import Predictions, predictions_of
from ltrun.results.record import RunRecord
from ltrun.statistics.bootstrap import RESAMPLES, Difference, of_derivatives, of_means
from ltrun.statistics.multiple import holm
from ltrun.statistics.precision import precision_by_image

AT_ONCE = 16  # classes whose scores are read together: the scores of an image lie side by side
Values = NDArray[np.float64]
Pair = tuple[Predictions, Predictions]


@dataclass(frozen=True)
class Compared:
    """A column. one, other: means over seeds, fractions of 1. found: their difference, None without images of the group.

    images: test images of the column. net: for accuracy, by how many more images `one` takes for their label, mean over
    seeds. p: corrected for the number of comparisons.
    """

    column: Column
    images: int
    one: float | None = None
    other: float | None = None
    found: Difference | None = None
    net: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The difference of two rows of a table. seeds: those that both rows have. together: the number of comparisons whose p is
    corrected. notes: sentences on what is left out."""

    table: Table
    one: str
    other: str
    seeds: tuple[int, ...]
    columns: tuple[Compared, ...]
    notes: tuple[str, ...]
    together: int = 1

    @property
    def whole(self) -> Compared:
        """The column of all classes."""
        return self.columns[0]

    @property
    def better(self) -> bool | None:
        """Whether the first row is better; None if the two cannot be told apart."""
        found, p = self.whole.found, self.whole.p
        if found is None or p is None or p >= 0.05:
            return None
        return (found.value > 0) is (self.whole.column.metric.better != "lower")


def check_metric(metric: str | None) -> None:
    """Raises ConfigError for a metric that is not compared."""
    known = [name for names in COMPARED.values() for name in names]
    if metric is not None and metric not in known:
        raise ConfigError(f"--metric {metric}: rows are compared by {', '.join(known)}")


class Comparer:
    """Compares rows. Reads each file of predictions once. resamples: None for the usual number."""

    def __init__(self, resamples: int | None = None) -> None:
        self.resamples = resamples
        self._kept: dict[tuple[Path, str], Predictions | LtrunError] = {}

    def compare(self, contest: Contest) -> list[Comparison]:
        """Returns the comparison of the first row with each other, p-values corrected by Holm's method column by column.

        Raises DataError if two rows share no seed with predictions, or if their test images differ.
        """
        first, *others = contest.rows
        label, *labels = contest.labels
        made = [
            self._two(contest.table, (label, first), (name, row)) for name, row in zip(labels, others, strict=True)
        ]  # fmt: skip
        columns = []
        for each in zip(*(comparison.columns for comparison in made), strict=True):
            there = [one for one in each if one.found is not None]
            corrected = iter(holm([one.found.p for one in there if one.found is not None]))
            columns.append([replace(one, p=next(corrected)) if one.found is not None else one for one in each])
        return [
            replace(comparison, columns=tuple(column), together=len(made))
            for comparison, column in zip(made, zip(*columns, strict=True), strict=True)
        ]

    def _two(self, table: Table, one: tuple[str, Row], other: tuple[str, Row]) -> Comparison:
        notes: list[str] = []
        runs = [{record.seed: (record, predictor) for record, predictor in row.runs} for _, row in (one, other)]
        common = sorted(runs[0].keys() & runs[1].keys())
        for (name, _), (rival, _), own in ((one, other, runs[0]), (other, one, runs[1])):
            if alone := sorted(own.keys() - set(common)):
                notes.append(f"{name} is left out for {_seeds(alone)}, which {rival} lacks")
        if not common:
            mine, theirs = (_seeds(sorted(each)) for each in runs)
            words = f"seed={','.join(map(str, sorted(runs[0])))}"
            raise DataError(f"{one[0]} has {mine} and {other[0]} {theirs}, so no runs pair: train {other[0]} with {words}")
        pairs, reason = dict[int, Pair](), ""
        for seed in common:
            try:
                pairs[seed] = (self._read(*runs[0][seed]), self._read(*runs[1][seed]))
            except LtrunError as error:
                reason = str(error)
                notes.append(f"{reason}. Seed {seed} is left out")
        if not pairs:
            raise DataError(f"{one[0]} and {other[0]} cannot be compared: {reason}")
        _check_images(pairs, one[0], other[0])
        record = one[1].runs[0][0]
        two = list(pairs.values())
        made = _Precisions(record, two) if record.task == MULTI_LABEL else _Hits(record, two, self.resamples)
        columns = tuple(made.compared(table.measure.columns))
        return Comparison(table, one[0], other[0], tuple(pairs), columns, tuple(notes))

    def _read(self, record: RunRecord, predictor: str) -> Predictions:
        folder = record.path.parent if record.path else Path()
        if (folder, predictor) not in self._kept:
            try:
                self._kept[folder, predictor] = predictions_of(record, folder, predictor)
            except LtrunError as error:
                self._kept[folder, predictor] = error
        found = self._kept[folder, predictor]
        if isinstance(found, LtrunError):
            raise found
        return found


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _check_images(pairs: dict[int, Pair], one: str, other: str) -> None:
    """Raises DataError unless all predictions are of the same images in the same order, as far as labels and names tell."""
    first = next(iter(pairs.values()))[0]
    for seed, pair in pairs.items():
        for name, each in zip((one, other), pair, strict=True):
            named = first.files is None or each.files is None or np.array_equal(first.files, each.files)
            if not (np.array_equal(first.labels, each.labels) and named):
                raise DataError(
                    f"the test images of {one} and {other} differ (first in {name}, seed {seed}): only predictions of the same "
                    "images are compared; train one of them again on the data of the other"
                )


class _Hits:
    """Columns of accuracy, error and macro accuracy: means over images."""

    def __init__(self, record: RunRecord, pairs: Sequence[Pair], resamples: int | None) -> None:
        self.labels, self.counts = pairs[0][0].labels, record.classes["counts"]
        self.shots, self.resamples = Shots.of(record.config), resamples or RESAMPLES
        self.one, self.other = (
            np.stack([each.predicted == self.labels for each in side]) for side in zip(*pairs, strict=True)
        )  # fmt: skip

    def compared(self, columns: Sequence[Column]) -> Iterator[Compared]:
        yield from map(self._compared, columns)

    def _compared(self, column: Column) -> Compared:
        some = _in_group(column, self.counts, self.shots)[self.labels]
        images = int(some.sum())
        if not images:
            return Compared(column, 0)
        labels = self.labels[some]
        weight = np.ones(images)
        if column.group or column.key == BALANCED[SINGLE_LABEL]:  # a mean over classes
            sizes = np.bincount(labels)
            weight = images / (np.count_nonzero(sizes) * sizes[labels])
        one, other = self.one[:, some], self.other[:, some]
        hits = one.astype(float) - other
        lower = column.metric.better == "lower"
        means = [float((side * weight).mean()) for side in (one, other)]
        one_mean, other_mean = (1 - mean if lower else mean for mean in means)
        found = of_means(hits * weight * (-1 if lower else 1), self.resamples)
        return Compared(column, images, one_mean, other_mean, found, float(hits.sum(1).mean()))


class _Precisions:
    """Columns of mean average precision, which is no mean over images: images enter by its derivatives."""

    def __init__(self, record: RunRecord, pairs: Sequence[Pair]) -> None:
        self.labels, self.counts = pairs[0][0].labels, record.classes["counts"]
        self.shots, self.pairs = Shots.of(record.config), pairs

    def compared(self, columns: Sequence[Column]) -> Iterator[Compared]:
        images, there = len(self.labels), self.labels.any(0)
        chosen = np.array([_in_group(column, self.counts, self.shots) & there for column in columns])
        sizes = chosen.sum(1)
        shares = chosen / np.maximum(sizes, 1)[:, None]  # (K, C) of each class in the mean of a column
        means = np.zeros((2, len(self.pairs), len(columns)))
        apart = np.zeros((len(columns), len(self.pairs), images))  # derivatives of the differences
        for seed, pair in enumerate(self.pairs):
            for side, sign in ((0, 1), (1, -1)):
                for c, values, derivatives in self._by_class(pair[side], np.flatnonzero(there)):
                    means[side, seed] += shares[:, c] * values
                    for k in np.flatnonzero(chosen[:, c]).tolist():
                        apart[k, seed] += sign * shares[k, c] * derivatives
        for k, column in enumerate(columns):
            if not sizes[k]:
                yield Compared(column, 0)
                continue
            one, other = means[:, :, k]
            yield Compared(column, images, float(one.mean()), float(other.mean()), of_derivatives(one - other, apart[k]))

    def _by_class(self, read: Predictions, classes: NDArray[np.int64]) -> Iterator[tuple[int, float, Values]]:
        """Yields each class with its average precision, and the (N,) derivatives by the weights of the images."""
        for some in np.array_split(classes, max(1, -(-len(classes) // AT_ONCE))):
            scores, labels = (np.ascontiguousarray(each[:, some].T) for each in (read.scores, self.labels))
            for row, c in enumerate(some.tolist()):
                yield c, *precision_by_image(scores[row], labels[row])


def _in_group(column: Column, counts: Sequence[int], shots: Shots) -> NDArray[np.bool_]:
    """Returns (C,) whether a class belongs to the column."""
    return np.array([column.group is None or shots.group(n) == column.group for n in counts])
