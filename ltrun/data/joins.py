"""Join of lists and images: where the image of each line lies, as a file below the root, in a tar there, or nowhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.hub import Rows as ParquetRows
from ltrun.data.hub import copied, named_rows
from ltrun.data.index import Index, Listing, indexed, listed
from ltrun.data.keys import Keys
from ltrun.data.stamps import GONE, Stamps
from ltrun.data.tars import Located

Rows = NDArray[np.int64]


@dataclass(eq=False)
class Root:
    """The images below one folder. kind: names the spelling of `keys` in the cache. All lists of a data set share it, so that
    the folder is listed once."""

    path: Path
    keys: Keys
    kind: str
    listing: Listing | None = None
    tars: dict[str, Index] = field(default_factory=dict)
    parquet: dict[str, Index] = field(default_factory=dict)

    def find(self, paths: Sequence[str], keys: Sequence[str]) -> Join:
        """Returns where the images of a list lie: the path of a line is tried first, then a list of all files below the root,
        then its tars and Parquet files; what a kept list of files lacks is looked for in a new one.

        paths, keys: of N lines. Raises OSError, and DataError for a tar that cannot be read or trusted.
        """
        join = Join(self.path, len(paths))
        if self._as_written(paths):
            join.take(_files([os.fsencode(path) for path in paths]), np.arange(len(paths)))
        wanted = np.array([os.fsencode(key) for key in keys], dtype=np.bytes_)
        if join.absent.any():
            self._look_up(join, wanted, anew=False)
        if join.absent.any() and self.listing is not None and not self.listing.fresh:
            self._look_up(join, wanted, anew=True)
        return join

    def _as_written(self, paths: Sequence[str]) -> bool:
        """Returns whether the first, a middle and the last path of a list lead to files, and all stay below the root."""
        some = {paths[0], paths[len(paths) // 2], paths[-1]}
        return all(map(stays, paths)) and all((self.path / path).is_file() for path in some)

    def _look_up(self, join: Join, wanted: NDArray[np.bytes_], anew: bool) -> None:
        if self.listing is None or anew:
            self.listing = listed(self.path, self.keys, self.kind, anew)
            self.tars.clear()
            self.parquet.clear()
        join.take(self.listing.index, self.listing.index.rows(wanted))
        for archive in self.listing.others["tars"]:
            if not join.absent.any():
                break
            if archive not in self.tars:
                self.tars[archive] = indexed(self.path, archive, self.keys, self.kind)
            join.take(self.tars[archive], self.tars[archive].rows(wanted))
        if join.absent.any() and (parts := self._rows_of(wanted[join.absent])):
            found = copied(self.path, parts)
            join.take(found, found.rows(wanted))

    def _rows_of(self, wanted: NDArray[np.bytes_]) -> list[ParquetRows]:
        """Returns the rows of Parquet files that hold images with these keys, each key once."""
        assert self.listing is not None
        parts = []
        for file in self.listing.others["parquet"]:
            if file not in self.parquet:
                self.parquet[file] = named_rows(self.path, file, self.keys, self.kind)
            index = self.parquet[file]
            rows = index.rows(wanted)
            if len(held := rows[rows >= 0]):
                parts.append(ParquetRows(file, index.keys[held], index.names[held], index.offsets[held]))
            wanted = wanted[rows < 0]
        return parts


class Join:
    """Where the N images of a list lie. source: (N,) the index that holds each image among `sources`, -1 for an absent image.
    row: (N,) its row there. sizes: (N,) in bytes. times: (N,) mtime in ns, of the file or the tar."""

    def __init__(self, root: Path, count: int) -> None:
        self.root = root
        self.sources: list[Index] = []
        self.source, self.row = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self.sizes, self.times = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        self.stamps: Stamps | None = None  # of the files of all images, if the last source that was taken holds them all

    @property
    def absent(self) -> NDArray[np.bool_]:
        return self.source < 0

    def take(self, index: Index, rows: Rows) -> None:
        """Fills in absent images that an index holds, unless their files are gone. rows: (N,) row of each image, or -1."""
        new = np.flatnonzero(self.absent & (rows >= 0))
        if not len(new):
            return
        if index.archive:
            self.sizes[new], self.times[new] = index.sizes[rows[new]], index.archive.time
        else:
            stamps = Stamps.of([self.root / os.fsdecode(name) for name in index.names[rows[new]].tolist()], self.root)
            there = ~(stamps.values == GONE).all(axis=1)
            self.stamps = stamps if there.all() and len(new) == len(self.source) else None
            new = new[there]
            self.sizes[new], self.times[new] = stamps.sizes[there], stamps.times[there]
        self.source[new], self.row[new] = len(self.sources), rows[new]
        self.sources.append(index)

    def place(self, row: int) -> str:
        """Returns the place of an image below the root: `val/a.jpg`, or `val.tar:a.jpg`."""
        index = self.sources[self.source[row]]
        name = os.fsdecode(index.names[self.row[row]])
        return name if index.archive is None or index.archive.copy else f"{os.fsdecode(index.archive.name)}:{name}"

    def stamps_of(self, rows: Rows) -> Stamps:
        """Returns the stamps of the files that hold these images, each file once."""
        if self.stamps is not None and len(rows) == len(self.source):
            return self.stamps
        archives = {index.archive.name: None for index in self.sources if index.archive}
        files = [row for row in rows.tolist() if self.sources[self.source[row]].archive is None]
        names = [*map(os.fsdecode, archives), *map(self.place, files)]
        return Stamps.of([self.root / name for name in names], self.root)

    def images(self, rows: Rows) -> Located:
        """Returns these images, all of them present, as a container."""
        source, row = self.source[rows], self.row[rows]
        width = max(index.names.itemsize for index in self.sources)
        names, offsets = np.empty(len(rows), dtype=f"S{width}"), np.zeros(len(rows), dtype=np.int64)
        archive = np.full(len(rows), -1, dtype=np.int64)
        archives = [index.archive for index in self.sources if index.archive]
        for number, index in enumerate(self.sources):
            held = source == number
            names[held], offsets[held] = index.names[row[held]], index.offsets[row[held]]
            if index.archive:
                archive[held] = archives.index(index.archive)
        return Located(self.root, names, archives, archive, offsets, self.sizes[rows])


def stays(path: str) -> bool:
    """Returns whether a path leads to a place below the root, whatever lies there."""
    return not path.startswith("/") and (".." not in path or ".." not in path.split("/"))


def _files(names: Sequence[bytes]) -> Index:
    none = np.zeros(len(names), dtype=np.int64)
    return Index(np.empty(0, dtype=np.bytes_), np.array(names, dtype=np.bytes_), none, none)
