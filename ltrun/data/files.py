"""Names of the files of a split: which file, or which row of a published file, each image is."""

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
    """(N, 16) digests of the pixels of each image, a gigabyte a second."""
    found = np.empty((len(images), DIGEST), dtype=np.uint8)
    for row, image in enumerate(images):
        pixels = np.ascontiguousarray(image).data
        found[row] = np.frombuffer(hashlib.blake2b(pixels, digest_size=DIGEST).digest(), np.uint8)
    return found


class Files(Sequence[str]):
    """(N,) a name for each row of a split, in the order of its rows; made when it is asked for.

    names: (F,) bytes as the file system has them, shared by all splits and a quarter of the size of text. rows: (N,) which
    of them each row is; all in order if not given. What the files hold: sizes, (F,) bytes of each file, where each image has
    one; digests, (F, 16) uint8 of decoded pixels, where they were decoded once for all. times: (F,) ns, when they were written.
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
        """`train/ant/000.png`: where each file lies below the root, with the separators of POSIX."""
        start = os.fsencode(root / "_")[:-1]  # paths below "." do not begin with it
        return cls(np.array([os.fsencode(path).removeprefix(start) for path in paths], dtype=np.bytes_))

    @classmethod
    def numbered(cls, of: str, count: int) -> Files:
        """`test/00042`: for rows of a file that has no names for them. of: what is numbered."""
        return cls.of(f"{of}/{row:05}" for row in range(count))

    def holding(self, sizes: Rows | None = None, digests: Digests | None = None, times: Rows | None = None) -> Files:
        """The same, with what the files hold."""
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
        """(N,) names as text, for an array file."""
        return np.array(list(self), dtype=np.str_)
