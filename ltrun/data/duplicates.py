"""Images that stand twice in a data set: by path, which is repaired or refused, and by content, which is told."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.files import DIGEST, Digests, Rows
from ltrun.data.label_arrays import LabelArray, differ
from ltrun.errors import DataError

END = 4096  # bytes at the end of a file, which tell almost all images of one size apart

log = logging.getLogger(__name__)


def first_of_each(
    names: Sequence[str], labels: LabelArray, splits: NDArray[np.str_], of: str, at: Callable[[int], str]
) -> Rows:
    """Returns the rows that name an image for the first time, and warns of the others, which repeat a row of their split.

    Raises DataError for an image in two splits, whose accuracy would be a memory of training (leakage), and for an image with
    two labels. of: how a sentence names the table. at: row -> `line 7`.
    """
    seen: dict[str, int] = {}
    first = np.array([seen.setdefault(name, row) for row, name in enumerate(names)], dtype=np.int64)
    again = np.flatnonzero(first != np.arange(len(first)))
    if (leaks := again[splits[again] != splits[first[again]]]).size:
        row, other = int(leaks[0]), int(first[leaks[0]])
        more = f", and {_rows(leaks.size - 1, 'is', 'are', ' more')} in two splits" if leaks.size > 1 else ""
        raise DataError(
            f"{of}: {names[row]} is in {splits[other]} ({at(other)}) and in {splits[row]} ({at(row)}){more}. This is leakage, "
            "and accuracy on such images means nothing: keep each image in one split"
        )
    if (torn := again[differ(labels[again], labels[first[again]])]).size:
        row, other = int(torn[0]), int(first[torn[0]])
        more = f", as {_rows(torn.size - 1, 'does', 'do', ' more')}" if torn.size > 1 else ""
        raise DataError(f"{of}: {names[row]} has one label in {at(other)} and another in {at(row)}{more}: keep one of its rows")
    if again.size:
        row = int(again[0])
        rows = _rows(again.size, "is", "are")
        log.warning("%s: %s repeated, such as %s for %s: each image counts once", of, rows, at(row), names[row])
    return np.flatnonzero(first == np.arange(len(first)))


def _rows(count: int, one: str, many: str, more: str = "") -> str:
    """Returns a number of rows with the verb that goes with it."""
    return f"1{more} row {one}" if count == 1 else f"{count:,}{more} rows {many}"


def digests_of_alike(paths: Sequence[Path], sizes: Rows) -> Digests:
    """Returns (N, 16) digests of the files whose content another file may have; zeros for a file of a content of its own.

    sizes: (N,) in bytes. Opens only files whose size another file has, and reads whole only those that end alike too. A file
    that cannot be read has a content of its own.
    """
    digests = np.zeros((len(paths), DIGEST), dtype=np.uint8)
    rows = np.flatnonzero(_shared(sizes) & (sizes > 0))
    ends = np.array([_digest(paths[row], max(int(sizes[row]) - END, 0)) for row in rows.tolist()], dtype=np.uint8)
    if rows.size:
        _, codes = np.unique(ends, axis=0, return_inverse=True)
        _, pairs = np.unique(np.stack([codes.ravel(), sizes[rows]]), axis=1, return_inverse=True)
        rows = rows[_shared(pairs.ravel()) & ends.any(axis=1)]
    for row in rows.tolist():
        digests[row] = _digest(paths[row], 0)
    return digests


def tell_copies(digests: Digests, labels: LabelArray, splits: NDArray[np.str_], of: str, shown: Callable[[int], str]) -> None:
    """Warns of images of one content in two splits, or with two labels; tells of copies within a class and a split.

    digests: (N, 16); all zeros: an image of a content of its own. shown: row -> name of the image in a sentence.
    """
    rows = np.flatnonzero(digests.any(axis=1))
    if not rows.size:
        return
    _, first, inverse = np.unique(digests[rows], axis=0, return_index=True, return_inverse=True)
    other = rows[first][inverse.ravel()]  # of each row, the first row of the same content
    copies, originals = rows[rows != other], other[rows != other]
    leaks, torn = splits[copies] != splits[originals], differ(labels[copies], labels[originals])
    for log_at, found, where, so in (
        (log.warning, leaks, "another split", "this is leakage, and flatters the accuracy: remove one of each pair"),
        (log.warning, torn & ~leaks, "another class", "one of the labels is wrong, or an image has two: look at them"),
        (log.info, ~torn & ~leaks, "their class", "each counts as an image of its own"),
    ):
        if found.any():
            one, two = shown(int(originals[found][0])), shown(int(copies[found][0]))
            count = int(found.sum())
            images = "1 image has" if count == 1 else f"{count:,} images have"
            log_at("%s: %s the content of an image of %s, such as %s and %s; %s", of, images, where, one, two, so)


def _shared(values: Rows) -> NDArray[np.bool_]:
    """Returns an (N,) mask of the values that occur more than once."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def _digest(path: Path, start: int) -> NDArray[np.uint8]:
    """Returns the (16,) digest of a file from a byte on; zeros for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST))
    except OSError:
        return np.zeros(DIGEST, dtype=np.uint8)
    return np.frombuffer(digest.digest(), np.uint8)
