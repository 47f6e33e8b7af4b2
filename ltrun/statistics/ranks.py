"""Average ranks of methods over data sets, and which of them differ: Demsar, 2006, Journal of Machine Learning Research 7."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ltrun.statistics.means import LEVEL

Numbers = NDArray[np.float64]
STEPS, REACH = 2000, 8.0  # points, and standard deviations on each side, of an integral over the normal density


def average_ranks(values: Numbers) -> Numbers:
    """Returns (K,) the mean rank of each method, 1 for the best. values: (D, K), higher is better; equal ones share a rank."""
    higher = (values[:, None, :] > values[:, :, None]).sum(2)
    equal = (values[:, None, :] == values[:, :, None]).sum(2)
    return np.asarray((higher + (equal + 1) / 2).mean(0))


def friedman(values: Numbers) -> float:
    """Returns the p-value of the hypothesis that all methods are alike (Friedman, 1937). values: (D, K), K of 2 or more."""
    data_sets, methods = values.shape
    spread = float(((average_ranks(values) - (methods + 1) / 2) ** 2).sum())
    return chi_square_exceeding(12 * data_sets / (methods * (methods + 1)) * spread, methods - 1)


def chi_square_exceeding(value: float, freedom: int) -> float:
    """Returns the probability that a chi-square variable exceeds `value`. freedom: degrees of freedom, 1 or more."""
    half = value / 2
    found, term, start = (math.exp(-half), math.exp(-half), 2) if freedom % 2 == 0 else (math.erfc(math.sqrt(half)), 0.0, 1)
    for degrees in range(start, freedom, 2):
        if degrees == 1:
            term = math.sqrt(2 * value / math.pi) * math.exp(-half)
        else:
            term *= value / degrees
        found += term
    return min(1.0, found)


def critical_difference(methods: int, data_sets: int) -> float:
    """Returns by how much two of K average ranks must differ at the 5% level (Nemenyi, 1963)."""
    return studentized_range(methods) / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * data_sets))


def studentized_range(methods: int) -> float:
    """Returns the range that K standard normal variables exceed with probability 0.05."""
    grid = np.linspace(-REACH, REACH, STEPS)
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)
    points = [NormalDist().cdf(each) for each in grid.tolist()]
    low, high = 0.0, 2 * REACH
    while high - low > 1e-9:
        middle = (low + high) / 2
        below = [NormalDist().cdf(each - middle) for each in grid.tolist()]
        inside = methods * density * (np.array(points) - np.array(below)) ** (methods - 1)
        low, high = (middle, high) if 1 - inside.sum() * (grid[1] - grid[0]) > LEVEL else (low, middle)
    return high


def cliques(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Returns (first, last) of each largest group, of two or more, of ascending ranks that differ by less than `critical`."""
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(i for i in range(first, len(ranks)) if ranks[i] - rank < critical or i == first)
        if last > first and not (found and found[-1][1] >= last):
            found.append((first, last))
    return found
