"""Verification of the cache: every image read again and compared with what the cache holds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.data.stamps import Stamps

AT_ONCE = 1000  # rows that are compared at a time
Kept = Mapping[str, NDArray[Any]]


@dataclass
class Verification:
    """images: number of images compared. missing: number of entries that the cache did not hold. differing: names of the images
    that differ from the cache."""

    images: int = 0
    missing: int = 0
    differing: list[str] = field(default_factory=list)

    def compare(self, kept: Kept | None, made: Kept, stamps: Stamps | None) -> None:
        """Compares a cached entry with the arrays made now, row by row where an array has one row per image."""
        if kept is None:
            self.missing += 1
            return
        names = _names(made, stamps)
        differs = np.zeros(len(names), dtype=bool)
        for key, array in made.items():
            other = kept.get(key)
            if key == "unreadable" and other is not None:  # rows of images that cannot be read
                differs[np.setxor1d(other, array)] = True
            elif other is None or other.dtype != array.dtype or other.shape != array.shape:
                differs |= key != "reasons"
            elif len(array) == len(names):
                differs |= _rows_differ(array, other)
            else:
                differs |= not np.array_equal(array, other)
        self.images += len(names)
        self.differing += [names[row] for row in np.flatnonzero(differs)]


def _names(made: Kept, stamps: Stamps | None) -> list[str]:
    """Returns the names of an entry's images: their files, or their rows in a file that holds all images."""
    if stamps is not None and "files" not in made:
        return [str(stamps.place / os.fsdecode(name)) for name in stamps.names]
    names = [os.fsdecode(name) for name in made.get("files", [])] or [f"image {row}" for row in range(len(made["images"]))]
    places = ", ".join(str(stamps.place / os.fsdecode(name)) for name in stamps.names) if stamps is not None else ""
    return [f"{places}: {name}" if places else name for name in names]


def _rows_differ(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    found = np.zeros(len(one), dtype=bool)
    for first in range(0, len(one), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        found[some] = (one[some] != other[some]).reshape(len(found[some]), -1).any(axis=1)
    return found


VERIFICATION: ContextVar[Verification | None] = ContextVar("verification", default=None)


@contextmanager
def verifying() -> Iterator[Verification]:
    """In this context, the cache makes every entry again, compares it with the cached entry, and replaces the cached entry."""
    found = Verification()
    token = VERIFICATION.set(found)
    try:
        yield found
    finally:
        VERIFICATION.reset(token)
