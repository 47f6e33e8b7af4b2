"""Stamps of files (size, times, inode), by which a change of their contents shows."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.files import Files
from ltrun.errors import DataError

FINE, COARSE = 0.05, 2.0  # seconds within which two changes may get the same time: local file systems count ticks, FAT seconds
TRIES = 3
SECOND = 10**9
GONE = (-1, -1, -1, -1)  # the stamp of a broken link
UNCERTAIN = re.compile(r"nfs|cifs|smb|fuse|9p|vfat|exfat|msdos|afs|vboxsf")  # file times are coarse, or copies of a server's
NUMBERED_ANEW = re.compile(r"(?!nfs)")  # of these file systems: a file may have another inode after each mount


@dataclass(frozen=True, eq=False)
class Stamps:
    """Stamps of F files. place: the folder of the files. names: (F,) bytes, relative to `place`. values: (F, 4) size in bytes,
    mtime and ctime in ns, inode, following links.

    settled: whether every change from now on shows, because the last change is older than the resolution of the file system's
    times. system: the kind of file system, if it may hide changes; else empty.
    """

    place: Path
    names: NDArray[np.bytes_]
    values: NDArray[np.int64]
    settled: bool
    system: str

    @classmethod
    def of(cls, paths: Sequence[Path], place: Path) -> Stamps:
        """Returns the stamps of files, after waiting until a change that was just made can be told from the next change: a
        twentieth of a second, or two seconds on coarse file systems."""
        system = uncertain(place)
        for left in reversed(range(TRIES)):
            values = np.array([_values(path) for path in paths], dtype=np.int64).reshape(-1, 4)
            wait = _wait(values[:, 2], bool(system))
            if not 0 < wait <= COARSE or not left:  # do not wait for a time in the future, from another clock
                break
            time.sleep(wait)
        if system and NUMBERED_ANEW.match(system):
            values[:, 3] = 0
        return cls(place, Files.below(place, paths).names, values, wait <= 0, system)

    def check(self) -> None:
        """Raises a DataError that names the file, if a file was written or replaced since. ctime alone may change: a backup
        changes it."""
        for name, (size, written, _, inode) in zip(self.names.tolist(), self.values.tolist(), strict=True):
            path = self.place / os.fsdecode(name)
            found = _values(path)
            if found[:2] != (size, written) or (inode and found[3] != inode):
                raise DataError(
                    f"{path} was changed while this run read it: restore it and give the same command again to resume, "
                    "or train from scratch with force=true"
                )

    def take(self, rows: NDArray[np.int64]) -> Stamps:
        """Returns the stamps of some of the files."""
        return replace(self, names=self.names[rows], values=self.values[rows])

    @property
    def sizes(self) -> NDArray[np.int64]:
        return self.values[:, 0]

    @property
    def times(self) -> NDArray[np.int64]:
        """(F,) times when the files were written, mtime in ns."""
        return self.values[:, 1]


def _values(path: Path) -> tuple[int, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return GONE
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & (2**63 - 1)


def _wait(changed: NDArray[np.int64], uncertain: bool) -> float:
    """Returns the seconds until the newest change is old enough. changed: ctime in ns, because nobody can set ctime."""
    newest = int(changed.max(initial=0))
    window = COARSE if uncertain or newest % SECOND == 0 else FINE
    return newest / SECOND + window - time.time()


def uncertain(place: Path) -> str:
    """Returns the kind of a folder's file system if its times may hide changes; else empty, also if the kernel does not say."""
    here = os.path.realpath(place)
    mounted = [mount for mount in _mounts() if here == mount[0] or here.startswith(mount[0].rstrip("/") + "/")]
    system = max(mounted, key=lambda mount: len(mount[0]), default=("", ""))[1]
    return system if UNCERTAIN.match(system) else ""


@lru_cache(maxsize=1)
def _mounts() -> list[tuple[str, str]]:
    """Returns (folder, kind) of each mounted file system, later mounts first."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in reversed(lines):
        mount, _, source = line.partition(" - ")
        if len(words := mount.split()) > 4 and source:
            folder = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
            found.append((folder, source.split()[0]))
    return found
