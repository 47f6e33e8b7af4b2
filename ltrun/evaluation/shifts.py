"""Test-agnostic evaluation: subsets of the test split whose classes are as long-tailed as training, or the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import DataError
from ltrun.metrics import RATIOS

Integers = NDArray[np.int64]
SMALL = 5  # classes of fewer test images have a test set with ratio 3, as in iNaturalist 2018


def class_sizes(ranks: Integers, images: int, ratio: int, backward: bool) -> Integers:
    """Returns (C,) images of each class, int(images * (1 / ratio) ** (rank / (C - 1))). backward: the last rank keeps most.

    ranks: (C,) rank of each class by its training images, 0 for the largest.
    """
    last = max(1, len(ranks) - 1)
    power = (last - ranks if backward else ranks) / last
    return np.array([int(images * (1 / ratio) ** p) for p in power.tolist()])


def ranks_of(counts: Integers) -> Integers:
    """Returns (C,) ranks of the classes by training images, equal ones in label order. counts: (C,)."""
    ranks = np.empty(len(counts), np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return ranks


@dataclass(frozen=True, eq=False)
class ShiftedSets:
    """Test sets by their names in metrics.SHIFTS. rows: of the test split. files: the lists that name the images, from forward
    to backward; empty for drawn ones."""

    rows: Mapping[str, Integers]
    files: tuple[str, ...] = ()


class Shifts:
    """The test sets of a test split: forward, uniform and backward, with the ratios that its classes have images for.

    labels: (N,) labels of the test images. counts: (C,) training images of each class. ratios: of the largest class of a test
    set to its smallest, up to `each`, so that every class keeps an image. each: images of a class in the uniform test set, as
    many as the smallest class has, so that the class sizes are the training's or the reverse whatever the split's own are.

    Which images: each class's are shuffled by numpy's legacy generator with seed 0, classes in label order, and the first are
    taken. This is the procedure of SADE's code for CIFAR-100, and gives the same images. There class sizes follow class order,
    which is the order of training sizes; elsewhere they follow the training sizes, as the sizes in SADE's lists of ImageNet-LT,
    Places-LT and iNaturalist do, but those lists drew other images, and iNaturalist's with ratio 3 lack up to 11 of 11,148.
    `ltrun.report.shift_lists` takes the lists themselves.
    All inputs are prepared as for testing; SADE's code augments the images of its test sets of CIFAR as in training.

    Zhang et al., 2022, arXiv 2107.09249 (SADE); Hong et al., 2021, arXiv 2012.00321 (LADE).
    """

    def __init__(self, labels: Integers, counts: Integers):
        support = np.bincount(labels, minlength=len(counts))
        self.each = int(support.min())
        self.equal = bool((support == self.each).all())
        if self.each == 0:
            raise DataError(f"{int((support == 0).sum())} of {len(counts)} classes have no test image")
        self.ratios = tuple(r for r in RATIOS if r <= self.each and (r != 3 or self.each < SMALL))
        if not self.ratios:
            raise DataError("a class has a single test image, so no test set can have other class sizes")
        self._ranks = ranks_of(counts)
        ends = support.cumsum()
        self._classes = np.split(np.argsort(labels, kind="stable"), ends[:-1])
        generator = np.random.RandomState(0)
        for rows in self._classes:
            generator.shuffle(rows)

    def rows(self, ratio: int, backward: bool = False) -> Integers:
        """Returns the rows of a test set, in the order of the test split. ratio: 1 for the uniform one."""
        sizes = class_sizes(self._ranks, self.each, ratio, backward)
        return np.sort(np.concatenate([rows[:n] for rows, n in zip(self._classes, sizes.tolist(), strict=True)]))

    def sets(self) -> ShiftedSets:
        """Returns the forward and backward test sets."""
        ways = [("forward", False), ("backward", True)]
        return ShiftedSets({f"{way}_{ratio}": self.rows(ratio, back) for way, back in ways for ratio in self.ratios})
