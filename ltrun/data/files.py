"""File names of the images of a split: for each image its file, or its row in a published file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Digests = NDArray[np.uint8]
DIGEST = 16  # bytes


def digests_of(images: NDArray[np.uint8]) -> Digests:
    """Returns (N, 16) digests of the pixels of each image, at a gigabyte per second."""
    found = np.empty((len(images), DIGEST), dtype=np.uint8)
    for row, image in enumerate(images):
        pixels = np.ascontiguousarray(image).data
        found[row] = np.frombuffer(hashlib.blake2b(pixels, digest_size=DIGEST).digest(), np.uint8)
    return found


class Files(Sequence[str]):
    """(N,) names, one for each row of a split in the order of its rows; a name becomes text when it is asked for.

    names: (F,) bytes as in the file system, shared by all splits and a quarter of the size of text. rows: (N,) the index of
    each row's name; all names in order if not given. sizes: (F,) of the files in bytes, where each image has a file of its own.
    digests: (F, 16) uint8 of decoded pixels, where images are decoded once for all. times: (F,) when files were written, in ns.
    """

    def __init__(
        self,
        names: NDArray[np.bytes_],
        rows: Rows | None = None,
        sizes: Rows | None = None,
        digests: Digests | None = None,
        times: Rows | None = None,
    ) -> None:
        self.names, self.rows = names, np.arange(len(names)) if rows is None else rows
        self.sizes, self.digests, self.times = sizes, digests, times

    @classmethod
    def of(cls, names: Iterable[str | bytes]) -> Files:
        return cls(np.array([os.fsencode(name) for name in names], dtype=np.bytes_))

    @classmethod
    def below(cls, root: Path, paths: Iterable[Path]) -> Files:
        """Returns the names of files relative to the root, with POSIX separators: `train/ant/000.png`."""
        start = os.fsencode(root / "_")[:-1]  # paths below "." do not begin with it
        return cls(np.array([os.fsencode(path).removeprefix(start) for path in paths], dtype=np.bytes_))

    @classmethod
    def numbered(cls, of: str, count: int) -> Files:
        """Returns names such as `test/00042`, for rows of a file without names for them. of: the first word, here `test`."""
        return cls.of(f"{of}/{row:05}" for row in range(count))

    def holding(self, sizes: Rows | None = None, digests: Digests | None = None, times: Rows | None = None) -> Files:
        """Returns the same names with sizes, digests and times of their files."""
        return Files(self.names, self.rows, sizes, digests, times)

    def take(self, rows: Rows | slice) -> Files:
        return Files(self.names, self.rows[rows], self.sizes, self.digests, self.times)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Files: ...
    def __getitem__(self, row: int | slice) -> str | Files:
        return self.take(row) if isinstance(row, slice) else os.fsdecode(self.names[self.rows[row]])

    def __len__(self) -> int:
        return len(self.rows)

    def text(self) -> NDArray[np.str_]:
        """Returns the (N,) names as text, for an array file."""
        return np.array(list(self), dtype=np.str_)
