"""Correction of p-values for the number of comparisons."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values, in the order given, corrected so that all are compared with one level.

    The smallest is multiplied by their number, the next by one less, and so on; none falls below a smaller one, none exceeds 1.
    The probability of any false finding stays below the level (Holm, 1979, Scandinavian Journal of Statistics 6).
    """
    found = [0.0] * len(p)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        found[place] = largest
    return found
