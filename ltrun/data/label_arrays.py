"""Labels of a split as arrays, of either task: (N,) int64, a class per row; or (N, C) bool, whether a row has each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LabelArray = NDArray[np.int64] | NDArray[np.bool_]


def counts_of(labels: LabelArray, num_classes: int) -> NDArray[np.int64]:
    """Returns (C,) the number of rows that have each class."""
    if labels.ndim == 1:
        return np.bincount(labels, minlength=num_classes)
    return np.asarray(labels.sum(axis=0, dtype=np.int64))


def having(labels: LabelArray, label: int) -> NDArray[np.bool_]:
    """Returns (N,) whether each row has a class."""
    return np.asarray(labels == label if labels.ndim == 1 else labels[:, label], dtype=np.bool_)


def differ(one: LabelArray, other: LabelArray) -> NDArray[np.bool_]:
    """Returns (N,) whether two rows have different labels."""
    return np.asarray(one != other if one.ndim == 1 else (one != other).any(axis=1), dtype=np.bool_)


def hot_of(sets: list[list[int]], num_classes: int) -> NDArray[np.bool_]:
    """Returns (N, C) bool of the labels of each row."""
    hot = np.zeros((len(sets), num_classes), dtype=np.bool_)
    rows = np.repeat(np.arange(len(sets)), [len(some) for some in sets])
    hot[rows, np.array([label for some in sets for label in some], dtype=np.int64)] = True
    return hot


def one_each(labels: LabelArray) -> NDArray[np.int64]:
    """Returns labels that are known to be (N,)."""
    return labels.astype(np.int64, copy=False)


def several(labels: LabelArray) -> NDArray[np.bool_]:
    """Returns labels that are known to be (N, C)."""
    return labels.astype(np.bool_, copy=False)
