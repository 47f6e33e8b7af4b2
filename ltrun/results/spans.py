"""Pieces of large arrays, each of which is worked on in memory at once. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

AT_ONCE = 2**20  # numbers of a piece


def spans(shape: Sequence[int]) -> list[slice]:
    """Returns the rows of an array (N, ...) in pieces of at most AT_ONCE numbers, or of one row."""
    step = max(1, AT_ONCE // max(1, prod(shape[1:])))
    return [slice(first, first + step) for first in range(0, shape[0], step)]
