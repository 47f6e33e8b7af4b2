"""Images in the Parquet files of a hub: found by the paths that the files store, and copied to the cache to be read by row.

Of ImageNet's 1.28 million images, the lists of ImageNet-LT name an eighth: only these are copied, once.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltrun.data.cache import Arrays, cached
from ltrun.data.copies import copying, place_of
from ltrun.data.images import shown
from ltrun.data.index import Index, sorted_index
from ltrun.data.keys import Keys
from ltrun.data.parquet import opened
from ltrun.data.stamps import Stamps
from ltrun.data.tars import Archive
from ltrun.errors import DataError

log = logging.getLogger(__name__)


class Rows(NamedTuple):
    """Some rows of a Parquet file. file: its name below the root. keys, names: (M,) bytes, of the images. rows: (M,) int64."""

    file: str
    keys: NDArray[np.bytes_]
    names: NDArray[np.bytes_]
    rows: NDArray[np.int64]


def named_rows(root: Path, file: str, keys: Keys, kind: str) -> Index:
    """Returns the images of a Parquet file by the keys of their paths: offsets are numbers of rows, sizes are unknown.

    kind: names the spelling of `keys` in the cache. A file without a column of {bytes, path} has none. Raises DataError.
    """
    path = root / file

    def make() -> Arrays:
        with opened(path) as parquet:
            column = _images(parquet.schema_arrow)
            cells = [] if column is None else parquet.read(columns=[f"{column}.path"]).column(column).to_pylist()
        named = [(row, cell["path"]) for row, cell in enumerate(cells) if cell and isinstance(cell["path"], str)]
        return sorted_index(
            [os.fsencode(keys.of(name)) for _, name in named],
            [os.fsencode(name) for _, name in named],
            np.array([row for row, _ in named], dtype=np.int64),
            np.zeros(len(named), dtype=np.int64),
        )

    return Index.of(cached(make, "hub", kind, str(path.resolve()), stamps=Stamps.of([path], root), images=False))


def copied(root: Path, parts: Sequence[Rows]) -> Index:
    """Returns the images of these rows in one file of the cache, copied there unless they are there. Raises DataError."""
    digest = hashlib.sha256(b"\0".join(key for part in parts for key in part.keys.tolist())).hexdigest()
    key = ("hub copy", str(root.resolve()), digest)
    stamps = Stamps.of([root / part.file for part in parts], root)
    file = place_of(".images", *key)
    arrays = cached(lambda: _copy(root, parts, file), *key, stamps=stamps, images=False)
    if not _whole(file, arrays):
        arrays = cached(lambda: _copy(root, parts, file), *key, stamps=stamps, images=False, anew=True)
    status = file.stat()
    return Index.of(arrays, Archive(os.fsencode(file), status.st_size, status.st_mtime_ns, copy=True))


def _whole(file: Path, arrays: Arrays) -> bool:
    """Returns whether the copy is there; its size tells another list's or another version's copy."""
    return file.is_file() and file.stat().st_size == int(arrays["sizes"].sum())


def _copy(root: Path, parts: Sequence[Rows], file: Path) -> Arrays:
    """Writes the images one after the other, the file whole or not at all. Returns the arrays of an index."""
    log.info("copying %s images of Parquet files to %s, once", f"{sum(len(part.rows) for part in parts):,}", file)
    keys, names, sizes = list[bytes](), list[bytes](), list[int]()
    with copying(root, file) as target:
        for part in parts:
            order = np.argsort(part.rows)
            sizes += _written(target, root / part.file, part.rows[order])
            keys += part.keys[order].tolist()
            names += [os.fsencode(f"{part.file}:") + name for name in part.names[order].tolist()]
    lengths = np.array(sizes, dtype=np.int64)
    return sorted_index(keys, names, lengths.cumsum() - lengths, lengths)


def _written(target: IO[bytes], file: Path, rows: NDArray[np.int64]) -> list[int]:
    """Writes the images of some rows, in their order, and returns their sizes in bytes."""
    sizes = []
    for row, content in _contents(file, rows):
        if not content:
            raise DataError(f"{shown(file)}, row {row}, has no image bytes: get the file again")
        sizes.append(target.write(content))
    return sizes


def _contents(file: Path, rows: NDArray[np.int64]) -> Iterator[tuple[int, bytes | None]]:
    """Yields (row, encoded image) of rising rows; reads no group that holds none of them."""
    with opened(file) as parquet:
        column, first = _images(parquet.schema_arrow), 0
        for group in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(group).num_rows
            some = rows[(rows >= first) & (rows < end)]
            if len(some):
                cells = parquet.read_row_group(group, columns=[f"{column}.bytes"]).column(column).take(some - first).to_pylist()
                yield from zip(some.tolist(), ((cell or {}).get("bytes") for cell in cells), strict=True)
            first = end


def _images(schema: Any) -> str | None:
    """Returns the name of the column of {bytes, path}, None without one."""
    import pyarrow

    for found in schema:
        fields = {inner.name for inner in found.type} if pyarrow.types.is_struct(found.type) else set[str]()
        if {"bytes", "path"} <= fields:
            return str(found.name)
    return None
