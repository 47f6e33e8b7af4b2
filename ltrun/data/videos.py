"""Videos as features of their frames: an array (frames, D) each, in files of their own or one after the other in one file."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ltrun.data.cache import Arrays, cached
from ltrun.data.files import Rows
from ltrun.data.images import POINTER, no_file, shown
from ltrun.data.source import reading
from ltrun.data.stamps import Stamps
from ltrun.errors import DataError

SUFFIX = ".npy"
FEATURES, INDEX = "features.npy", "videos.npz"  # a packed folder: the frames of all videos, and where each video ends
TYPES: dict[str, Literal["float32", "float16"]] = {"<f4": "float32", "<f2": "float16"}
HEADERS = 8  # threads that read headers

Stored = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Videos:
    """V videos. files: the file of each, perhaps one for all. starts: (V,) int64, the byte where the array of each begins.
    frames: (V,) int64. dtype, width: of all features. stamps: of the files.

    Rows are read by their positions: about as fast as from a mapped file, but where a disk goes away or a file is cut short,
    it raises an error, and a mapped file would end the process.
    """

    files: Sequence[Path]
    ids: Sequence[str]
    starts: Rows
    frames: Rows
    dtype: np.dtype[np.floating]
    width: int
    stamps: Stamps

    def read(self, video: int, rows: Rows, into: Stored) -> None:
        """Writes the features of these frames, which are in order, into (len(rows), D). Reads no others.

        Raises DataError where that is impossible since the file was looked at.
        """
        size, start, ends = self.width * self.dtype.itemsize, int(self.starts[video]), np.flatnonzero(np.diff(rows) != 1) + 1
        try:
            with self.files[video].open("rb", buffering=0) as file:
                for first, end in pairwise([0, *ends.tolist(), len(rows)]):  # frames side by side are read together
                    place = into[first:end]
                    if os.preadv(file.fileno(), [place.data], start + int(rows[first]) * size) != place.nbytes:
                        raise OSError("it was cut short")
        except OSError as error:
            raise DataError(
                f"{self.shown(video)} cannot be read any more ({error.strerror or error}): restore it and give the same "
                "command again, which resumes the run"
            ) from None

    def shown(self, video: int) -> str:
        """Returns the name of a video in a sentence."""
        file, name = self.files[video], self.ids[video]
        return shown(file) if file.stem == name else f"{shown(file)}, video {shown(name)}"


class Header(NamedTuple):
    """shape, dtype: of an array file. start: the byte where its numbers begin."""

    shape: tuple[int, ...]
    dtype: str
    start: int


@lru_cache(maxsize=4096)
def _parsed(head: bytes) -> Header | str:
    """Returns the header of an array file, or in words why these first bytes are none."""
    if head.startswith(POINTER):
        return "is a Git LFS pointer, not features (`git lfs pull` fetches them)"
    stream = io.BytesIO(head)
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, by_columns, dtype = read(stream)
    except (ValueError, KeyError, SyntaxError, TypeError):
        return "is not an array file of NumPy (.npy)"
    if by_columns and len(shape) > 1:
        return "is stored by columns (Fortran order): save np.ascontiguousarray of it"
    return Header(shape, dtype.str, stream.tell())


def header_of(file: Path) -> Header | str:
    """Returns the header of a file of features (frames, D), or in words why the file holds none."""
    if reason := no_file(file):
        return reason
    try:
        with file.open("rb") as opened:
            head = opened.read(10)
            length = int.from_bytes(head[8:10], "little")
            if head[6:7] == b"\2":
                head += opened.read(2)
                length = int.from_bytes(head[8:12], "little")
            found = _parsed(head + opened.read(min(length, 2**16)))
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if isinstance(found, str):
        return found
    if len(found.shape) != 2 or not found.shape[1]:
        return f"holds an array of shape {found.shape}, where (frames, features) is needed"
    if found.dtype not in TYPES:
        return f"holds {np.dtype(found.dtype).name}, where float32 or float16 is needed"
    if not found.shape[0]:
        return "holds no frame"
    whole = found.start + found.shape[0] * found.shape[1] * np.dtype(found.dtype).itemsize
    return found if size == whole else f"is damaged: it has {size:,} bytes, and its {found.shape[0]:,} frames need {whole:,}"


def loose(root: Path, ids: Sequence[str]) -> Videos:
    """Returns the videos of root/<id>.npy, which are all there. Reads every header, once: the cache keeps them.

    Raises DataError for a file that is no array of features, or whose width or type differs from the first video's.
    """
    files = [root / f"{name}{SUFFIX}" for name in ids]
    with reading(root):
        stamps = Stamps.of(files, root)

    def look() -> Arrays:
        with ThreadPoolExecutor(HEADERS) as pool:
            found = list(pool.map(header_of, files, chunksize=256))
        _refuse(files, [None if isinstance(each, Header) else each for each in found])
        headers = [each for each in found if isinstance(each, Header)]
        first = headers[0]
        _refuse(files, [_unlike(each, first, files[0]) for each in headers])
        return {
            "frames": np.array([each.shape[0] for each in headers], dtype=np.int64),
            "starts": np.array([each.start for each in headers], dtype=np.int64),
            "type": np.array([first.dtype]),
            "width": np.array([first.shape[1]], dtype=np.int64),
        }

    known = cached(look, "videos", str(root.resolve()), stamps=stamps, images=False)
    dtype, width = np.dtype(str(known["type"][0])), int(known["width"][0])
    return Videos(files, ids, known["starts"], known["frames"], dtype, width, stamps)


def _unlike(header: Header, first: Header, file: Path) -> str | None:
    if header.dtype != first.dtype:
        return f"holds {TYPES[header.dtype]}, and {shown(file)} holds {TYPES[first.dtype]}: one data set has one type"
    if header.shape[1] != first.shape[1]:
        return (
            f"holds features of {header.shape[1]:,} numbers, and {shown(file)} holds {first.shape[1]:,}: one network's features"
        )
    return None


def _refuse(files: Sequence[Path], reasons: Sequence[str | None]) -> None:
    """Raises DataError if a file has a reason against it."""
    if bad := [(file, reason) for file, reason in zip(files, reasons, strict=True) if reason]:
        file, reason = bad[0]
        others = f", and {len(bad) - 1:,} more files of features cannot be used" if len(bad) > 1 else ""
        raise DataError(
            f"{shown(file)} {reason}{others}: repair it, or remove it, and allow for it with dataset.missing={len(bad)}"
        )


def is_packed(root: Path) -> bool:
    return (root / FEATURES).is_file() and (root / INDEX).is_file()


def ids_in(root: Path) -> set[str]:
    """Returns the ids of the videos whose features lie in a folder. Raises DataError for a folder that cannot be read."""
    if is_packed(root):
        return set(_index(root)[0])
    with reading(root), os.scandir(root) as entries:
        return {entry.name.removesuffix(SUFFIX) for entry in entries if entry.name.endswith(SUFFIX)}


def videos_in(root: Path, ids: Sequence[str]) -> Videos:
    """Returns videos whose features lie in a folder. Raises DataError for features that cannot be used."""
    return packed(root, ids) if is_packed(root) else loose(root, ids)


def packed(root: Path, ids: Sequence[str]) -> Videos:
    """Returns videos of a packed folder, which `ltrun data pack` makes. Raises DataError for a damaged folder."""
    file = root / FEATURES
    stamps, (known, ends), header = Stamps.of([file, root / INDEX], root), _index(root), header_of(file)
    if isinstance(header, str) or header.shape[0] != ends[-1]:
        reason = header if isinstance(header, str) else f"has {header.shape[0]:,} frames, and {INDEX} has {ends[-1]:,}"
        raise DataError(f"{shown(file)} {reason}: pack the videos again")
    place, dtype = {name: row for row, name in enumerate(known)}, np.dtype(header.dtype)
    rows = np.array([place[name] for name in ids], dtype=np.int64)
    starts = header.start + ends[rows] * header.shape[1] * dtype.itemsize
    return Videos([file] * len(ids), ids, starts, np.diff(ends)[rows], dtype, header.shape[1], stamps)


def _index(root: Path) -> tuple[list[str], Rows]:
    """Returns the ids of a packed folder in its order, and where each video ends, after a 0."""
    try:
        with np.load(root / INDEX, allow_pickle=False) as arrays:
            names, ends = arrays["ids"], arrays["ends"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{shown(root / INDEX)} cannot be read ({error}): pack the videos again") from None
    return [os.fsdecode(name) for name in names.tolist()], ends
