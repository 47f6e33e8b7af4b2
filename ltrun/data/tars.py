"""Tar archives read without unpacking: where each member lies, from the headers alone, and images of files and archives."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltrun.data.containers import Container
from ltrun.data.images import Unreadable, no_file, shown
from ltrun.errors import DataError

Names = NDArray[np.bytes_]
Rows = NDArray[np.int64]
SUFFIX = ".tar"
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip", ".7z", ".rar")
WAY_OUT = "unpack it elsewhere with care, or get the archive from its publisher again"


class Member(NamedTuple):
    """A regular file of an archive. name: with the inner archive before it, `n01440764.tar:n01440764_762.JPEG`."""

    name: str
    offset: int
    size: int


def members(archive: Path) -> Iterator[Member]:
    """Yields the regular files of a tar, and those of tars in it, in their order; reads headers only.

    Raises DataError for an archive that is compressed, damaged or cut off, and for a member that could lead out of its folder:
    a link, a device, an absolute name or one with '..'. Raises OSError for a file that cannot be read.
    """
    with archive.open("rb") as file:
        yield from _members(archive, file, 0, archive.stat().st_size, "")


def _members(archive: Path, file: io.BufferedReader, start: int, size: int, above: str) -> Iterator[Member]:
    try:
        with tarfile.open(fileobj=io.BufferedReader(Window(file.fileno(), start, size)), mode="r:") as tar:
            while (found := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # a million of them would fill the memory
                if found.isdir():
                    continue
                _refuse_leaving(archive, found, above)
                place = start + found.offset_data
                if found.name.endswith(SUFFIX) and not above:
                    yield from _members(archive, file, place, found.size, f"{found.name}:")
                else:
                    yield Member(above + found.name.removeprefix("./"), place, found.size)
    except tarfile.TarError as error:
        within = f" (in {shown(above[:-1])})" if above else ""
        raise DataError(
            f"{shown(archive)}{within} is compressed, damaged or cut off, and cannot be read without unpacking ({error}): "
            "unpack it, or get it again"
        ) from None


def _refuse_leaving(archive: Path, member: tarfile.TarInfo, above: str) -> None:
    """Raises DataError for a member that is no regular file, or whose name leads out of the archive's folder."""
    name = shown(above + member.name)
    if member.issym() or member.islnk():
        raise DataError(f"{shown(archive)}: the member {name} is a link to {shown(member.linkname)} and is refused: {WAY_OUT}")
    if not member.isreg() or member.issparse():
        raise DataError(f"{shown(archive)}: the member {name} is no regular file and is refused: {WAY_OUT}")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{shown(archive)}: the member {name} leads out of the archive's folder and is refused: {WAY_OUT}")


class Window(io.RawIOBase):
    """A part of an open file as a file of its own; several may read one file."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self.descriptor, self.start, self.size, self.at = descriptor, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(self.size - self.at, 0))
        found = os.pread(self.descriptor, wanted, self.start + self.at)
        buffer[: len(found)] = found
        self.at += len(found)
        return len(found)


class Archive(NamedTuple):
    """A tar below a root, as it was when its headers were read. size: in bytes. time: mtime in ns. copy: whether it is a file
    of the cache instead, with images of Parquet files."""

    name: bytes
    size: int
    time: int
    copy: bool = False


class Located(Container):
    """N images that are files, or byte ranges of archives, below one root; a Container.

    names: (N,) bytes, of files below the root or of members. archive: (N,) int64, the archive of each image among `archives`,
    -1 for files. offsets, sizes: (N,) int64 in bytes, within the archive. Each read opens its file, so that worker processes
    and threads share nothing.
    """

    def __init__(
        self, root: Path, names: Names, archives: Sequence[Archive], archive: Rows, offsets: Rows, sizes: Rows
    ) -> None:
        self.root, self.names, self.archives = root, names, archives
        self.archive, self.offsets, self.sizes = archive, offsets, sizes

    def __len__(self) -> int:
        return len(self.names)

    def path(self, row: int) -> Path:
        """Returns the file of an image, or the archive that holds it."""
        archive = self.archive[row]
        return self.root / os.fsdecode(self.names[row] if archive < 0 else self.archives[archive].name)

    def read(self, row: int) -> bytes:
        """Returns an encoded image. Raises Unreadable for an empty file, and OSError, also for an archive that was changed."""
        path = self.path(row)
        if self.archive[row] < 0:
            if reason := no_file(path):
                raise Unreadable(reason)
            return path.read_bytes()
        known = self.archives[self.archive[row]]
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != (known.size, known.time):
                raise OSError(None, "the archive was changed since its headers were read", str(path))
            return os.pread(file.fileno(), int(self.sizes[row]), int(self.offsets[row]))

    def shown(self, row: int) -> str:
        """Returns how a sentence names an image: a path, or archive.tar:member."""
        if self.archive[row] < 0:
            return shown(self.path(row))
        name = shown(os.fsdecode(self.names[row]))
        return name if self.archives[self.archive[row]].copy else f"{shown(self.path(row))}:{name}"
