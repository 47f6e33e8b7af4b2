"""Values of classes from the most frequent class to the rarest, smoothed where classes are many, for figures and the page."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ltrun.metrics import Metric
from ltrun.report.table import Scored

NAMED = 20  # most classes that are shown one by one


class Curve(NamedTuple):
    """mean, std: (P,) over runs, as displayed, nan for a class without images in the split; std is None for one run."""

    mean: np.ndarray
    std: np.ndarray | None


class Ranks(NamedTuple):
    """The order of C classes. order: (C,) classes, most frequent first. at: (P,) ranks at which curves have points. window:
    number of classes that curves average over."""

    order: np.ndarray
    at: np.ndarray
    window: int

    @classmethod
    def of(cls, counts: list[int], points: int) -> Ranks:
        """counts: (C,) training images. points: most points of a curve; smoothed curves have no finer detail."""
        order = np.argsort(-np.array(counts), kind="stable")
        window = 1 if len(order) <= NAMED else len(order) // 10 | 1  # odd, so that windows are centred
        at = np.unique(np.linspace(0, len(order) - 1, min(len(order), points)).round().astype(int))
        return cls(order, at, window)

    def smoothed(self, values: np.ndarray) -> np.ndarray:
        """Returns (R, P) the points of curves from values (R, C) in label order; ignores nan."""
        return _smoothed(values[:, self.order], self.window)[:, self.at]


def curve_of(runs: tuple[Scored, ...], split: str, metric: Metric, ranks: Ranks) -> Curve:
    """Returns the curve of the runs of a row, from `per_class` of their records. metric: the first of their task."""
    each = np.array([record.predictors[who]["splits"][split]["per_class"] for record, who in runs], dtype=float)
    shown = np.array([[metric.shown(value, metric.name) for value in run] for run in ranks.smoothed(each)])
    with np.errstate(invalid="ignore", divide="ignore"):
        there = np.isfinite(shown)
        n = there.sum(0)
        mean = np.where(there, shown, 0).sum(0) / n
        std = np.sqrt(np.where(there, (shown - mean) ** 2, 0).sum(0) / (n - 1))
    return Curve(mean, std if len(shown) > 1 else None)


def _smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """Returns the running mean of values (R, C) over `window` classes, fewer at the ends; ignores nan."""
    there = np.isfinite(values)
    half = window // 2
    sums, counts = (np.pad(np.cumsum(x, 1), ((0, 0), (1, 0))) for x in (np.where(there, values, 0), there.astype(float)))
    rank = np.arange(values.shape[1])
    low, high = np.maximum(rank - half, 0), np.minimum(rank + half + 1, values.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[:, high] - sums[:, low]) / (counts[:, high] - counts[:, low])
