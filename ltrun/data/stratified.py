"""Iterative stratification: a share of the images of several labels, with the same share of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ltrun.data.profiles import Rows

Hot = NDArray[np.bool_]


def stratified(hot: Hot, held: Rows, most: Rows, fraction: float) -> tuple[Rows, Rows]:
    """Returns (remaining rows, held-out rows), each in file order; the same rows for the same labels.

    hot: (N, C). held: (C,) images of each class that are wanted. most: (C,) images of a class that may be held out, which no
    class exceeds. fraction: share of all rows that is wanted; rows without labels fill what the classes leave of it.

    The class with the fewest images not yet placed goes first: each of its images goes where more of its class are wanted; of
    two equal wants, where more images are (Sechidis et al., 2011, On the stratification of multi-label data, ECML).
    """
    images = round(fraction * len(hot))
    order = np.random.RandomState(0).permutation(len(hot))
    wanted = np.stack([hot.sum(axis=0) - held, held]).astype(np.int64)  # of each class, to keep and to hold out
    room = np.array([len(hot) - images, images], dtype=np.int64)
    left, free = hot.sum(axis=0), most.astype(np.int64).copy()
    out = np.full(len(hot), -1, dtype=np.int64)

    def place(row: int, part: int) -> None:
        out[row] = part
        wanted[part] -= hot[row]
        room[part] -= 1
        left[hot[row]] -= 1
        if part:
            free[hot[row]] -= 1

    while left.any():
        label = int(np.where(left > 0, left, len(hot) + 1).argmin())
        for row in order[hot[order, label] & (out[order] < 0)].tolist():
            wants = (wanted[1, label], room[1]) > (wanted[0, label], room[0])
            place(row, int(wants and bool((free[hot[row]] > 0).all())))
    for row in order[out[order] < 0].tolist():
        place(row, int(room[1] > 0 and room[1] * (len(hot) - images) >= room[0] * images))
    return np.flatnonzero(out == 0), np.flatnonzero(out == 1)
