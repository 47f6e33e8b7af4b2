"""Cache of decoded images: sixty thousand PNGs take ten seconds to decode, and a seventh of a second to map from the cache.

The cache is `$LTRUN_CACHE`, or `~/.cache/ltrun`; it may be deleted at any time. An entry is one file that is mapped into
memory, so that the runs of a machine share its pages. It holds a CRC-32 of its head and of each array, verified whenever the
entry is opened (0.3 s per gigabyte); an entry that is truncated or changed anywhere is made again. It also holds the stamps of
its source files, and is made again when one of them changes. A file that has an entry's name is never written to: it is
replaced, and a process that has mapped the old file keeps it. Where the cache cannot be written, nothing is kept. The images of
Parquet files are too many for a CRC at each opening: `ltrun.data.packed` knows its file by size and seal.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ltrun.data.stamps import Stamps
from ltrun.data.verify import VERIFICATION
from ltrun.machine import at_home
from ltrun.results.atomic import appearing

Arrays = dict[str, NDArray[Any]]
FORMAT = 4  # raise it when the same file decodes to other pixels
STAMPS = ("stamps of", "stamps")  # the cache's own arrays in an entry: names of the source files, and their stamps
HEAD = struct.Struct("<8sII")  # MAGIC, length and CRC-32 of the JSON that follows: [name, dtype, shape, offset, CRC-32] each
MAGIC = b"ltrun\0\0\2"
DAMAGED = (MemoryError, OSError, OverflowError, ValueError, TypeError, struct.error)

log = logging.getLogger(__name__)


def cached(
    make: Callable[[], Arrays], *key: object, stamps: Stamps | None = None, images: bool = True, anew: bool = False
) -> Arrays:
    """Returns the arrays of `make`, from the cache if an earlier run left them there. Keeps nothing if the cache is unusable.

    key: names the arrays and the place of their files; the entry is replaced when the files change. stamps: stamps of the files
    that `make` reads, taken before it reads them. images: whether the arrays have a row per image, which verification compares.
    anew: makes the arrays even if the cache holds them. Of several runs that ask at once, one makes them and the others wait.
    The arrays are mapped: writing to one changes neither the file nor the arrays of other runs. Raises ConfigError for an
    LTRUN_CACHE with a ~ that stands for no home.
    """
    place, verification = cache_folder(), VERIFICATION.get()
    if place is None:
        return make()
    path = place / f"{name_of(*key)}.arrays"
    anew |= verification is not None
    if not anew and (kept := _fitting(path, stamps)) is not None:
        return kept
    with _alone(path):
        if not anew and (kept := _fitting(path, stamps)) is not None:  # another run made it meanwhile
            return kept
        arrays = make()
        if verification is not None and images:
            verification.compare(_read(path), arrays, stamps)
        if stamps is None or stamps.settled:
            with suppress(OSError), appearing(path) as temporary, temporary.open("xb") as file:
                _write(file, arrays | _stamped(stamps))
            _warn_of(stamps)
    return _fitting(path, stamps) or arrays


_warned: set[str] = set()


def _fitting(path: Path, stamps: Stamps | None) -> Arrays | None:
    """Returns the arrays of an entry, or None if the entry is absent or damaged, or its source files have changed."""
    arrays, expected = _read(path), _stamped(stamps)
    if arrays is None or not all(np.array_equal(arrays.pop(name, ()), array) for name, array in expected.items()):
        return None
    return arrays


def _stamped(stamps: Stamps | None) -> Arrays:
    return {} if stamps is None else dict(zip(STAMPS, (stamps.names, stamps.values), strict=True))


def _warn_of(stamps: Stamps | None) -> None:
    if stamps is not None and stamps.system and stamps.system not in _warned:
        _warned.add(stamps.system)
        log.warning(
            "the images lie on a file system (%s) whose times do not show every change: after replacing images, give "
            "'ltrun data --verify dataset=...', which reads all images again and repairs the cache",
            stamps.system,
        )


def _decoder() -> str:
    """Returns the version of Pillow: another version may decode the same file to other pixels."""
    from PIL import __version__  # does not load the decoders

    return __version__


def name_of(*key: object) -> str:
    """Returns the name of an entry, without its ending."""
    return hashlib.sha256(repr((FORMAT, _decoder(), key)).encode()).hexdigest()[:32]


def cache_folder() -> Path | None:
    """Returns the folder of the cache; None for an account without a home."""
    if given := os.environ.get("LTRUN_CACHE"):
        return Path(at_home(given, "LTRUN_CACHE"))
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ltrun"
    except RuntimeError:
        return None


def _read(path: Path) -> Arrays | None:
    """Returns the mapped arrays of an entry, or None if the entry is absent or damaged."""
    with suppress(*DAMAGED), path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        whole = memoryview(pages)
        magic, length, check = HEAD.unpack_from(whole)
        head = whole[HEAD.size : HEAD.size + length]
        if magic != MAGIC or zlib.crc32(head) != check:
            return None
        arrays: Arrays = {}
        for name, dtype, shape, offset, check in json.loads(bytes(head)):
            array = np.frombuffer(pages, dtype, math.prod(shape), offset).reshape(shape)
            if zlib.crc32(whole[offset : offset + array.nbytes]) != check:
                return None
            arrays[name] = array
        return arrays
    return None


def _write(file: IO[bytes], arrays: Arrays) -> None:
    """Writes the arrays, each from the start of a page on, and then the head, which holds their offsets, to the first page."""
    described = []
    offset = mmap.PAGESIZE
    for name, given in arrays.items():
        array = np.ascontiguousarray(given)
        content = array.reshape(-1).view(np.uint8).data
        described.append([name, array.dtype.str, array.shape, offset, zlib.crc32(content)])
        file.seek(offset)
        file.write(content)
        offset += -(-max(content.nbytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    file.truncate(offset)  # so that even an empty last array lies within the file
    head = json.dumps(described).encode()
    assert HEAD.size + len(head) <= mmap.PAGESIZE
    file.seek(0)
    file.write(HEAD.pack(MAGIC, len(head), zlib.crc32(head)) + head)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the lock of an entry, waiting while another run holds it; the kernel releases it on a kill.

    Where files cannot be locked, two runs may both make the entry, and the later entry replaces the other.
    """
    lock = path.with_suffix(".lock")
    with ExitStack() as stack:
        with suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(lock.open("w"))
            stack.callback(_remove, lock)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another run is decoding these images; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
