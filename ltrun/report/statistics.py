"""Welch's t-test of two means, and the verdict on the best of several: better than the second, or within noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

LEVEL = 0.05  # of the two-sided test
Better = Literal["higher", "lower"] | None
STEPS = 1000  # of Simpson's rule, even


class Sample(NamedTuple):
    """What n runs say. std: with n - 1 in the denominator, None for a single one. printed: the mean as a table has it."""

    mean: float
    std: float | None
    n: int
    printed: str


@dataclass(frozen=True)
class Verdict:
    """best: the row with the best mean. p: of its difference from the second, None where one run shows no noise."""

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
    """samples: by row, those that may be compared. None where there is nothing to compare, or neither way is better."""
    if len(samples) < 2 or better is None:
        return None
    sign = 1 if better == "lower" else -1
    best, second = sorted(samples, key=lambda row: (sign * samples[row].mean, row))[:2]
    one, other = samples[best], samples[second]
    return Verdict(best, second, p_value(one, other), one.printed == other.printed)


def p_value(one: Sample, other: Sample) -> float | None:
    """Two-sided, of the means' difference over its standard error from both deviations (Welch, 1947).

    None where either has a single run. Without any deviation, means that differ at all differ for certain.
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
    """The probability that Student's t with so many degrees of freedom, 1 or more, is beyond -t or t.

    With t = sqrt(freedom) tan(a) its density goes as cos(a)^(freedom - 1), here integrated by Simpson's rule.
    """
    start = math.atan(t / math.sqrt(freedom))
    width = (math.pi / 2 - start) / STEPS
    heights = [math.sin(i * width) ** (freedom - 1) for i in range(STEPS + 1)]  # from the far end, where cos is 0
    area = width / 3 * (heights[0] + heights[-1] + 4 * math.fsum(heights[1:-1:2]) + 2 * math.fsum(heights[2:-1:2]))
    return min(1.0, area / (math.sqrt(math.pi) / 2 * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))))
