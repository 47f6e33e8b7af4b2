"""Containers of encoded images: what a decoder reads from, image by image and in any order."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from ltrun.data.images import Unreadable, no_file, shown


class Container(ABC):
    """Encoded images by number: files, members of tars, rows of parquet files.

    Worker processes get it by fork, so it holds arrays: reading a list counts references and so copies its memory to each.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, row: int) -> bytes:
        """Returns an encoded image. Raises OSError, or Unreadable with the reason in words."""

    @abstractmethod
    def shown(self, row: int) -> str:
        """Returns the name of an image in a sentence: a path, or an archive and the member in it."""

    def open(self, row: int) -> IO[bytes]:
        """Returns an encoded image as a file, of which a reader may want the beginning alone. Raises as `read` does."""
        return io.BytesIO(self.read(row))


class OnDisk(Container):
    """Images in a file each."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.names = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)

    def path(self, row: int) -> Path:
        return Path(os.fsdecode(self.names[row]))

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> bytes:
        with self.open(row) as file:
            return file.read()

    def open(self, row: int) -> IO[bytes]:
        path = self.path(row)
        if reason := no_file(path):
            raise Unreadable(reason)
        return path.open("rb")

    def shown(self, row: int) -> str:
        return shown(self.path(row))


class Joined(Container):
    """Containers one after the other, as one container."""

    def __init__(self, parts: Iterable[Container]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, row: int) -> bytes:
        part, inner = self._place(row)
        return part.read(inner)

    def open(self, row: int) -> IO[bytes]:
        part, inner = self._place(row)
        return part.open(inner)

    def shown(self, row: int) -> str:
        part, inner = self._place(row)
        return part.shown(inner)

    def _place(self, row: int) -> tuple[Container, int]:
        index = int(np.searchsorted(self.ends, row, side="right"))
        return self.parts[index], row - int(self.ends[index - 1] if index else 0)
