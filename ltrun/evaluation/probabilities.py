"""Softmax of large score arrays, a piece at a time: scores may be a view of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.results.spans import AT_ONCE, spans

Fractions = NDArray[np.float64]


def by_rows(scores: NDArray[Any]) -> Iterator[tuple[slice, Fractions]]:
    """Yields some rows, and the (R, C) softmax of their scores. scores: (N, C); minus infinity rules a class out."""
    for some in spans(scores.shape):
        piece = scores[some].astype(np.float64)
        powers = np.exp(piece - piece.max(1, keepdims=True))
        yield some, powers / powers.sum(1, keepdims=True)


def by_classes(scores: NDArray[Any]) -> Iterator[tuple[slice, Fractions]]:
    """Yields some classes, and the (N, K) probabilities of those classes. scores: (N, C)."""
    rows, classes = scores.shape
    highest, total = np.empty(rows), np.empty(rows)
    for some in spans(scores.shape):
        piece = scores[some].astype(np.float64)
        highest[some] = piece.max(1)
        total[some] = np.exp(piece - highest[some, None]).sum(1)
    step = max(1, AT_ONCE // max(1, rows))
    for first in range(0, classes, step):
        few = slice(first, first + step)
        yield few, np.exp(scores[:, few].astype(np.float64) - highest[:, None]) / total[:, None]
