"""Ranks of rows over data sets, for a critical-difference diagram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltrun.errors import ConfigError
from ltrun.report.sides import Contest
from ltrun.statistics.means import LEVEL
from ltrun.statistics.ranks import average_ranks, cliques, critical_difference, friedman

MANY = 5  # data sets: with fewer, few differences can be found


@dataclass(frozen=True)
class Ranking:
    """Average ranks over data sets, the best first. cliques: (first, last) of rows that cannot be told apart: all, if
    Friedman's test finds no difference.

    critical: by how much two ranks must differ (Nemenyi). p: of the hypothesis that all rows are alike (Friedman). measure:
    title of the metric.
    """

    labels: tuple[str, ...]
    ranks: tuple[float, ...]
    cliques: tuple[tuple[int, int], ...]
    critical: float
    p: float
    data_sets: tuple[str, ...]
    measure: str

    def lines(self) -> Iterator[str]:
        """Yields the ranks and what they show, as sentences."""
        over = f"{len(self.data_sets)} data sets ({', '.join(self.data_sets)})"
        ranked = ", ".join(f"{label} {rank:.2f}" for label, rank in zip(self.labels, self.ranks, strict=True))
        yield f"Average ranks over {over}: {ranked}."
        alike = "; ".join(", ".join(self.labels[first : last + 1]) for first, last in self.cliques)
        apart = f"Cannot be told apart: {alike}." if alike else "All differ."
        yield f"Friedman p = {self.p:.3f}; critical difference {self.critical:.2f} (Nemenyi, 5%). {apart}"
        if len(self.data_sets) < MANY:
            yield f"note: with fewer than {MANY} data sets, ranks show large and constant differences only"

    def content(self) -> dict[str, Any]:
        """Returns the ranking for JSON."""
        return {
            "data_sets": list(self.data_sets),
            "ranks": dict(zip(self.labels, self.ranks, strict=True)),
            "critical_difference": self.critical,
            "friedman_p": self.p,
            "cliques": [list(self.labels[first : last + 1]) for first, last in self.cliques],
        }


def ranking(contests: Sequence[Contest]) -> Ranking:
    """Ranks the rows by their means over seeds on each data set. Raises ConfigError for fewer than two data sets."""
    found = [each for each in contests if all(row.cells[0].mean is not None for row in each.rows)]
    if len(found) < 2:
        has = found[0].table.title if found else "none"
        raise ConfigError(
            f"--diagram: ranks need two data sets or more, and of those with all rows there is {has}: train the rows on "
            "further data sets, or leave --diagram out"
        )
    metric = found[0].table.measure.columns[0].metric
    sign = -1 if metric.better == "lower" else 1
    values = np.array([[sign * (row.cells[0].mean or 0.0) for row in each.rows] for each in found])
    ranks = average_ranks(values)
    order = np.argsort(ranks, kind="stable").tolist()
    ascending = tuple(float(ranks[i]) for i in order)
    critical, p = critical_difference(len(order), len(found)), friedman(values)
    alike = cliques(ascending, critical) if p < LEVEL else [(0, len(order) - 1)]
    labels, data_sets = tuple(found[0].labels[i] for i in order), tuple(each.table.heading for each in found)
    return Ranking(labels, ascending, tuple(alike), critical, p, data_sets, metric.title)
