"""Difference of two methods on the same seeds and test images: a bootstrap over images, an interval and a test over both.

Three sources of chance make a seed's difference: the seed as a whole; the image, because some images favour one method with
any seed; and the image in this seed alone. The mean over n seeds and N images has the variance seeds / n + images / N + both /
(nN), which no resampling of two or three seeds can show. So images are resampled, with the same weights for both methods and
all seeds, and the seeds enter as in a paired t-test:

    S = variance of the seeds' differences, / n                          holds seeds / n + both / (nN)
    I = variance over resamples of the mean difference                   holds images / N + both / (nN)
    X = variance over resamples of the seeds' deviations from it, / n    holds both / (nN)
    B = max(0, I - X)                                                    images / N

The half-width of the interval is sqrt(t^2 S + z^2 B), with the quantile of each part: t has n - 1 degrees of freedom. Such a
sum covers at least as often as it says (Banerjee, 1960, Sankhya 22). The interval is never narrower than z sqrt(I), the noise
of the images for these very runs. Resampling of rows and columns: Owen, 2007, arXiv 0712.1111.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ltrun.statistics.means import exceeding, quantile

Numbers = NDArray[np.float64]
RESAMPLES = 10_000
AT_ONCE = 2**20  # weights of a piece: what a cache holds
FEW = 8  # images of a kind, on average, from which drawing by kinds is faster
Z = quantile(10**9)


@dataclass(frozen=True)
class Difference:
    """A difference of means with its interval. value: mean over seeds, as the seeds' values a fraction of 1.

    by_seed: the difference of each seed. seeds, images, chance, beyond: S, I, X and B of this module; with one seed, seeds and
    chance are 0 and beyond is I, and the interval has the noise of the images alone. half: half the width of the 95% interval,
    which low and high cut off at -1 and 1. p: two-sided, below 0.05 exactly where the interval excludes 0.
    """

    value: float
    by_seed: tuple[float, ...]
    seeds: float
    images: float
    chance: float
    beyond: float

    @property
    def n(self) -> int:
        return len(self.by_seed)

    @property
    def half(self) -> float:
        whole = quantile(self.n - 1) ** 2 * self.seeds + Z**2 * self.beyond if self.n > 1 else 0.0
        return math.sqrt(max(whole, Z**2 * self.images))

    @property
    def low(self) -> float:
        return max(-1.0, self.value - self.half)

    @property
    def high(self) -> float:
        return min(1.0, self.value + self.half)

    @property
    def p(self) -> float:
        of_images = _normal(self.value, self.images)
        return of_images if self.n == 1 else max(of_images, self._of_both())

    def _of_both(self) -> float:
        """Returns the level at which sqrt(t^2 S + z^2 B) is as large as the difference."""
        square = self.value**2
        if square == 0 or self.seeds == 0:
            return _normal(self.value, self.beyond)
        low, high = 0.0, math.sqrt(square / self.seeds)
        while high - low > 1e-9 * high:
            t = (low + high) / 2
            level = max(exceeding(t, self.n - 1), 1e-300)
            whole = t**2 * self.seeds + NormalDist().inv_cdf(level / 2) ** 2 * self.beyond
            low, high = (t, high) if whole < square else (low, t)
        return exceeding(high, self.n - 1)


def _normal(value: float, variance: float) -> float:
    """Returns the two-sided p of a normal value; 1 for 0, and 0 for another value without variance."""
    if value == 0 or variance == 0:
        return float(value == 0)
    return math.erfc(abs(value) / math.sqrt(2 * variance))


def difference(by_seed: Numbers, resampled: Numbers) -> Difference:
    """Returns the difference of n paired runs. by_seed: (n,) differences. resampled: (R, n), the same on resampled images."""
    moved = resampled - resampled.mean(0)
    chance = float((moved - moved.mean(1, keepdims=True)).var(0).sum())
    return _of_parts(by_seed, float(resampled.mean(1).var()), chance)


def _of_parts(by_seed: Numbers, images: float, apart: float) -> Difference:
    """Returns a difference. images: I. apart: the sum over seeds of the variance of their deviations from the mean."""
    n, mean = len(by_seed), float(by_seed.mean())
    if n == 1:
        return Difference(mean, (mean,), 0.0, images, 0.0, images)
    chance = apart / (n - 1) / n
    seeds = float(by_seed.var(ddof=1)) / n
    return Difference(mean, tuple(by_seed.tolist()), seeds, images, chance, max(0.0, images - chance))


def of_means(values: Numbers, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """Returns the difference of two methods whose measure is a mean over images. seed: of the resampling.

    values: (n, N), what each image adds in each pair of runs: for accuracy, -1, 0 or 1. Images with equal columns are drawn
    together.
    """
    kinds, counts = np.unique(values, axis=1, return_counts=True)
    rng, images = np.random.default_rng(seed), values.shape[1]
    if len(counts) * FEW > images:
        kinds, counts = values, np.ones(images, dtype=np.int64)
    pieces = [_means(kinds, drawn(rng, counts, rows)) for rows in pieces_of(resamples, len(counts))]
    return difference(values.mean(1), np.concatenate(pieces))


def of_derivatives(by_seed: Numbers, derivatives: Numbers) -> Difference:
    """Returns the difference of two methods whose measure is no mean over images, to first order in the images' weights.

    by_seed: (n,) differences. derivatives: (n, N), of each seed's difference by the weight of each image, at weights of 1. With
    weights of mean and variance 1, the variance of a first-order sum is that of its derivatives, and no resample is drawn.
    """
    of_mean = derivatives.mean(0)
    return _of_parts(by_seed, float((of_mean**2).sum()), float(((derivatives - of_mean) ** 2).sum()))


def _means(kinds: Numbers, weight: NDArray[np.floating]) -> Numbers:
    """Returns (R, n) weighted means. kinds: (n, K). weight: (R, K)."""
    return np.asarray((weight @ kinds.T.astype(weight.dtype)) / weight.sum(1, keepdims=True), dtype=np.float64)


def drawn(rng: np.random.Generator, counts: NDArray[np.int64], rows: int) -> NDArray[np.floating]:
    """Returns (rows, K) the weight of each kind in each resample. counts: (K,) images of each kind.

    A weight has the exponential distribution for one image (Rubin, 1981, Annals of Statistics 9) and the gamma distribution for
    more. Resampling with replacement has the same variance, but would now and then leave all images of a rare class out.
    """
    if counts.max() > 1:
        return rng.standard_gamma(counts, (rows, len(counts)))
    return rng.standard_exponential((rows, len(counts)), dtype=np.float32)


def pieces_of(rows: int, columns: int) -> Iterator[int]:
    """Yields the rows of each piece of a table, so that none has more than AT_ONCE numbers or it is one row."""
    step = max(1, AT_ONCE // columns)
    for first in range(0, rows, step):
        yield min(step, rows - first)
