"""Copies of the images of Parquet files in the cache: a file of bytes from which any image can be read.

Parquet is read by groups of rows: one row at random costs a whole group, six milliseconds; from such a file, ten microseconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ltrun.data.cache import cache_folder, name_of
from ltrun.data.images import shown
from ltrun.errors import DataError
from ltrun.results.atomic import appearing


def place_of(suffix: str, *key: str) -> Path:
    """Returns the file of a copy in the cache. Raises DataError without a cache."""
    place = cache_folder()
    if place is None:
        raise DataError("images of Parquet files are copied to ltrun's cache, which has no home: set LTRUN_CACHE=FOLDER")
    return place / f"{name_of(*key)}{suffix}"


@contextmanager
def copying(root: Path, copy: Path, size: int = 0) -> Iterator[IO[bytes]]:
    """Yields a file for the images of the Parquet files in `root`, which becomes `copy` at the end, or else is removed.

    size: bytes that it may take, if known. Raises DataError if the cache has no room, or cannot be written.
    """
    refused = f"the images of {shown(root)} cannot be copied to {shown(copy.parent)}"
    way_out = "set LTRUN_CACHE to a folder with room for them"
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(copy.parent).free) < size:
            raise DataError(f"{refused}: they may take {size / 1e9:.1f} GB, and it has {free / 1e9:.1f} GB left: {way_out}")
        with appearing(copy) as temporary, temporary.open("xb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{refused} ({error.strerror or error}): {way_out}") from None
