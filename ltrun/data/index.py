"""Index of the images below a root, by key: files in folders of any depth, and members of tars; kept beside the decoded images.

Listing a million names takes seconds on a local disk and minutes on a network one, so the cache keeps them, with the stamps of
the root's first-level folders. Whoever misses an image in a kept index asks for a new one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.cache import Arrays, cached
from ltrun.data.class_folders import ENDINGS, HIDDEN, is_folder
from ltrun.data.keys import Keys
from ltrun.data.stamps import Stamps
from ltrun.data.tars import PACKED, SUFFIX, Archive, members

PARQUET = ".parquet"
OTHERS = ("tars", "packed", "parquet")  # files that may hold images

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Index:
    """N images with different keys. keys: (N,) bytes, sorted. names: (N,) bytes, of files below the root, or of members of
    `archive`. offsets, sizes: (N,) int64 in bytes, of members."""

    keys: NDArray[np.bytes_]
    names: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    archive: Archive | None = None

    @classmethod
    def of(cls, arrays: Arrays, archive: Archive | None = None) -> Index:
        """Returns an index of the arrays of `sorted_index`."""
        return cls(arrays["keys"], arrays["names"], arrays["offsets"], arrays["sizes"], archive)

    def rows(self, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Returns the row of each key, -1 where the index has none."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        near = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[near] == keys, near, -1)


@dataclass(frozen=True, eq=False)
class Listing:
    """What lies below a root. fresh: whether it was listed just now. others: tars, packed archives, parquet files: names."""

    index: Index
    others: dict[str, list[str]]
    fresh: bool


def listed(root: Path, keys: Keys, kind: str, anew: bool = False) -> Listing:
    """Returns the image files below a root, and the archives there. kind: names the spelling of `keys`. anew: lists again.

    Follows symbolic links to folders. Of two files with one key the first by name counts. Raises OSError.
    """
    fresh = False

    def make() -> Arrays:
        nonlocal fresh
        fresh = True
        log.info("listing the images below %s, once; the cache keeps the list", root)
        names: list[bytes] = []
        others: dict[str, list[bytes]] = {kind: [] for kind in OTHERS}
        for name in _names(root, ""):
            lower = name.lower()
            if lower.endswith(ENDINGS):
                names.append(os.fsencode(name))
            elif lower.endswith(SUFFIX):
                others["tars"].append(os.fsencode(name))
            elif lower.endswith(PACKED):
                others["packed"].append(os.fsencode(name))
            elif lower.endswith(PARQUET):
                others["parquet"].append(os.fsencode(name))
        none = np.zeros(len(names), dtype=np.int64)
        found = sorted_index([os.fsencode(keys.of(os.fsdecode(name))) for name in names], names, none, none)
        return found | {kind: np.array(some, dtype=np.bytes_) for kind, some in others.items()}

    tops = [root, *sorted(Path(entry.path) for entry in _entries(root) if is_folder(entry))]
    arrays = cached(make, "listing", kind, str(root.resolve()), stamps=Stamps.of(tops, root), images=False, anew=anew)
    others = {kind: [os.fsdecode(name) for name in sorted(arrays[kind].tolist())] for kind in OTHERS}
    return Listing(Index.of(arrays), others, fresh)


def indexed(root: Path, archive: str, keys: Keys, kind: str) -> Index:
    """Returns the images in a tar below the root. Raises OSError, and DataError for a tar that cannot be trusted or read."""
    path = root / archive

    def make() -> Arrays:
        log.info("reading the headers of %s, once; the cache keeps the places of its images", path)
        found = [some for some in members(path) if some.name.lower().endswith(ENDINGS)]
        return sorted_index(
            [os.fsencode(keys.of(some.name.replace(f"{SUFFIX}:", "/"))) for some in found],
            [os.fsencode(some.name) for some in found],
            np.array([some.offset for some in found], dtype=np.int64),
            np.array([some.size for some in found], dtype=np.int64),
        )

    stamps = Stamps.of([path], root)
    arrays = cached(make, "tar", kind, str(path.resolve()), stamps=stamps, images=False)
    return Index.of(arrays, Archive(os.fsencode(archive), int(stamps.sizes[0]), int(stamps.times[0])))


def sorted_index(
    keys: Sequence[bytes], names: Sequence[bytes], offsets: NDArray[np.int64], sizes: NDArray[np.int64]
) -> dict[str, NDArray[np.generic]]:
    """Returns the arrays of an index, for the cache: one row for each key, the first by name."""
    order = np.array(sorted(range(len(keys)), key=lambda row: (keys[row], names[row])), dtype=np.int64)
    ordered = np.array(keys, dtype=np.bytes_)[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    kept = order[first]
    return {
        "keys": ordered[first],
        "names": np.array(names, dtype=np.bytes_)[kept],
        "offsets": offsets[kept],
        "sizes": sizes[kept],
    }


def _names(folder: Path, above: str, within: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Yields the names of all files below a folder. within: device and inode of the folders above, because links may make a
    ring."""
    status = folder.stat()
    here = within | {(status.st_dev, status.st_ino)}
    if len(here) == len(within):
        return
    for entry in _entries(folder):
        if is_folder(entry):
            yield from _names(Path(entry.path), f"{above}{entry.name}/", here)
        else:
            yield above + entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return [entry for entry in found if not entry.name.startswith(HIDDEN)]
