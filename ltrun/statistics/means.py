"""Welch's t-test of two means, the verdict on the best of several means, and the confidence interval of a mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Literal, NamedTuple

LEVEL = 0.05  # significance level of the two-sided test
Better = Literal["higher", "lower"] | None
LARGE = 20  # degrees of freedom
STEPS = 1000  # intervals of Simpson's rule; must be even


class Sample(NamedTuple):
    """Statistics of n runs. std: with n - 1 in the denominator, None for one run. printed: the mean as a table prints it."""

    mean: float
    std: float | None
    n: int
    printed: str


@dataclass(frozen=True)
class Verdict:
    """The comparison of the best two means. best, second: their rows. p: p-value of their difference, None if either is a
    single run. printed_alike: whether both means are printed alike.
    """

    best: int
    second: int
    p: float | None
    printed_alike: bool

    @property
    def kind(self) -> Literal["better", "equal", "within noise", "one run"]:
        if self.printed_alike and (self.p is None or self.p < LEVEL or self.p == 1):
            return "equal"
        if self.p is not None and self.p >= LEVEL:
            return "within noise"
        return "one run" if self.p is None else "better"


def verdict(samples: Mapping[int, Sample], better: Better) -> Verdict | None:
    """Returns the verdict on the best two samples; None for fewer than two samples, or if neither direction is better.

    samples: row -> sample, of the rows that may be compared.
    """
    if len(samples) < 2 or better is None:
        return None
    sign = 1 if better == "lower" else -1
    best, second = sorted(samples, key=lambda row: (sign * samples[row].mean, row))[:2]
    one, other = samples[best], samples[second]
    return Verdict(best, second, p_value(one, other), one.printed == other.printed)


def p_value(one: Sample, other: Sample) -> float | None:
    """Returns the two-sided p-value of the difference of two means by the t-test of unequal variances (Welch, 1947).

    Returns None if either sample is a single run. If both deviations are 0, p is 0 for different means and 1 for equal ones.
    """
    if one.std is None or other.std is None:
        return None
    parts = [one.std**2 / one.n, other.std**2 / other.n]
    variance, difference = sum(parts), abs(one.mean - other.mean)
    if variance == 0 or difference == 0:
        return float(difference == 0)
    first, rest = (part / variance for part in parts)
    freedom = 1 / (first**2 / (one.n - 1) + rest**2 / (other.n - 1))
    return exceeding(difference / math.sqrt(variance), freedom)


def exceeding(t: float, freedom: float) -> float:
    """Returns the probability that the absolute value of Student's t exceeds `t`. freedom: degrees of freedom, 1 or more.

    With t = sqrt(freedom) tan(a), the density is proportional to cos(a)^(freedom - 1), integrated by Simpson's rule.
    """
    start = math.atan(t / math.sqrt(freedom))
    width = (math.pi / 2 - start) / STEPS
    heights = [math.sin(i * width) ** (freedom - 1) for i in range(STEPS + 1)]  # from a = pi / 2 down, where cos(a) is 0
    area = width / 3 * (heights[0] + heights[-1] + 4 * math.fsum(heights[1:-1:2]) + 2 * math.fsum(heights[2:-1:2]))
    return min(1.0, area / (math.sqrt(math.pi) / 2 * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))))


@cache
def quantile(freedom: int, level: float = LEVEL) -> float:
    """Returns the t that the absolute value of Student's t exceeds with probability `level`. freedom: degrees of freedom.

    Beyond 20 degrees it is the normal quantile with three terms of Fisher and Cornish's series (1960).
    """
    if freedom > LARGE:
        z = -NormalDist().inv_cdf(level / 2)
        return (
            z
            + (z**3 + z) / (4 * freedom)
            + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
            + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
        )
    low, high = 0.0, 1e6 if freedom < 4 else 1e3
    while high - low > 1e-9 * max(1.0, low):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeding(middle, freedom) > level else (low, middle)
    return high


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the 95% confidence interval of the mean of values, by Student's t; None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    half = quantile(n - 1) * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return mean - half, mean + half
