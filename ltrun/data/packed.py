"""Packed images: the encoded images of Parquet files, unpacked once to one file of bytes from which any row can be read."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ltrun.data.cache import Arrays, cached
from ltrun.data.containers import Container
from ltrun.data.copies import copying, place_of
from ltrun.data.files import DIGEST, Rows
from ltrun.data.images import Unreadable, shown
from ltrun.data.parquet import opened
from ltrun.data.stamps import Stamps

AT_ONCE = 256  # rows that are read together
SEAL = 32  # bytes at the end of the packed file, by which its index knows it

log = logging.getLogger(__name__)


class Packed(Container):
    """The encoded images of Parquet files, one file after the other; an image that is null or empty has no bytes.

    files: the F files. starts: (F,) the number of the first image of each. pages: the bytes of all images, mapped. ends:
    (N + 1,) where each image ends in them, after a 0. digests: (N, 16) of the encoded images. names: (N,) bytes, empty where
    unknown.
    """

    def __init__(self, files: Sequence[Path], pages: memoryview, index: Arrays) -> None:
        self.files = np.array([str(file) for file in files], dtype=np.str_)
        self.pages, self.starts, self.ends = pages, index["starts"], index["ends"]
        self.digests, self.names = index["digests"], index["files"]

    @property
    def sizes(self) -> Rows:
        """(N,) of the encoded images, in bytes."""
        return np.diff(self.ends)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def read(self, row: int) -> bytes:
        content = bytes(self.pages[self.ends[row] : self.ends[row + 1]])
        if not content:
            raise Unreadable("is empty (0 bytes)")
        return content

    def shown(self, row: int) -> str:
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"{shown(str(self.files[file]))}, row {row - self.starts[file]}"


class Part(Container):
    """Some images of a container. rows: (M,) their numbers in it."""

    def __init__(self, whole: Container, rows: Rows) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> bytes:
        return self.whole.read(int(self.rows[row]))

    def shown(self, row: int) -> str:
        return self.whole.shown(int(self.rows[row]))


def unpacked(files: Sequence[Path], column: str, stamps: Stamps) -> Packed:
    """Returns the images in a column, which holds encoded images or {bytes, path}; no path is followed.

    The first call unpacks the files to the cache, and says so; later calls map what is there, unless a file has changed.
    stamps: of the files. Raises DataError for a file that cannot be read, and where the cache has no room.
    """
    key = ("packed", column, *(str(file.resolve()) for file in files))
    path = place_of(".packed", *key)

    def make() -> Arrays:
        return _pack(files, column, path)

    index = cached(make, *key, stamps=stamps)
    if (pages := _mapped(path, index)) is None:  # the packed file was removed, or is another run's of other files
        index = make()
        pages = _mapped(path, index)
    assert pages is not None
    return Packed(files, pages, index)


def _pack(files: Sequence[Path], column: str, path: Path) -> Arrays:
    """Writes the packed file, whole or not at all, and returns its index."""
    total = sum(file.stat().st_size for file in files)
    with copying(files[0].parent, path, total) as file:
        taken = f"the images of {shown(files[0].parent)} take {total / 1e9:.1f} GB of ltrun's cache, {shown(path.parent)}"
        log.info("%s: unpacking their images once, so that each can be read by itself", taken)
        return _index(file, files, column)


def _index(target: IO[bytes], files: Sequence[Path], column: str) -> Arrays:
    """Writes the images one after the other, then the seal. Returns the arrays of `Packed`."""
    sizes, digests, names, starts = list[Rows](), list[bytes](), list[bytes](), [0]
    for file in files:
        for batch in _batches(file, column):
            target.write(batch.content)
            sizes.append(np.diff(batch.ends))
            for start, end in zip(batch.ends[:-1].tolist(), batch.ends[1:].tolist(), strict=True):
                digests.append(hashlib.blake2b(batch.content[start:end], digest_size=DIGEST).digest())
            names += batch.names
        starts.append(len(digests))
    ends = np.concatenate([np.zeros(1, dtype=np.int64), *sizes]).cumsum()
    index: Arrays = {
        "starts": np.array(starts[:-1], dtype=np.int64),
        "ends": ends,
        "digests": np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST),
        "files": np.array(names, dtype=np.bytes_),
    }
    target.write(_seal(index))
    return index


def _seal(index: Arrays) -> bytes:
    return hashlib.sha256(index["digests"].tobytes() + index["ends"].tobytes()).digest()


def _mapped(path: Path, index: Arrays) -> memoryview | None:
    """Returns the bytes of a packed file; None if it is not the file of this index."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != index["ends"][-1] + SEAL:
                return None
            pages = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError:
        return None
    return pages if pages[-SEAL:] == _seal(index) else None


class _Batch(NamedTuple):
    """Encoded images of B rows. content: their bytes. ends: (B + 1,) where each ends, after where the first begins."""

    content: memoryview
    ends: Rows
    names: list[bytes]


def _batches(file: Path, column: str) -> Iterator[_Batch]:
    import pyarrow

    with opened(file) as parquet:
        for batch in parquet.iter_batches(AT_ONCE, columns=[column]):
            array = batch.column(0)
            names = [b""] * len(array)
            if pyarrow.types.is_struct(array.type):
                fields = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
                array = fields["bytes"]
                names = _names(fields.get("path"), len(array))
            array = array.cast(pyarrow.large_binary()).fill_null(b"")
            _, offsets, content = array.buffers()
            ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
            whole = memoryview(content) if content is not None else memoryview(b"")
            yield _Batch(whole[ends[0] : ends[-1]], ends - ends[0], names)


def _names(paths: Any, count: int) -> list[bytes]:
    """Returns the last step of each path, without folders of another machine."""
    found = paths.to_pylist() if paths is not None else [None] * count
    return [os.fsencode(path.replace("\\", "/").rpartition("/")[2]) if isinstance(path, str) else b"" for path in found]
