"""Average precision on resampled images: one class, all resamples at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def average_precisions(scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.float32]) -> Numbers:
    """Returns (R,) the average precision on each resample; nan without positive images.

    As tasks.average_precision: no interpolation, equal scores share one threshold. scores, positive: (N,). weights: (N, R)
    positive weight of each image in each resample.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], positive[order]
    group = np.concatenate([[0], np.cumsum(ranked[1:] != ranked[:-1])])  # of equal scores
    ends = np.flatnonzero(np.diff(group, append=group[-1] + 1))[np.unique(group[hits])]  # of groups with positives
    if not len(ends):
        return np.full(weights.shape[1], np.nan)
    there = np.flatnonzero(hits)
    first = np.searchsorted(there, np.concatenate([[0], ends[:-1] + 1]))
    gains = np.add.reduceat(weights[order[there]], first, axis=0)
    above = np.cumsum(np.add.reduceat(weights[order[: ends[-1] + 1]], np.concatenate([[0], ends[:-1] + 1]), axis=0), axis=0)
    found = np.cumsum(gains, axis=0)
    return np.asarray((found / above * gains).sum(0) / found[-1], dtype=np.float64)
