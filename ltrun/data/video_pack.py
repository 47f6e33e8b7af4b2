"""Packing of videos: the features of all files one after the other in one file, with an index of where each video ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ltrun.data.export import appearing_folder
from ltrun.data.features import ahead
from ltrun.data.videos import FEATURES, INDEX, Stored, Videos
from ltrun.errors import ConfigError, DataError
from ltrun.results.atomic import sync

PACKED = ("float32", "float16")  # types of packed features
READERS = 8  # threads that read files ahead of the writing


def pack(videos: Videos, folder: Path, dtype: np.dtype[np.floating]) -> None:
    """Writes folder/features.npy, (frames of all videos, D), and folder/videos.npz, with `ids` and `ends` of the videos.

    The folder appears whole or not at all. Raises ConfigError for a folder that is there or has no room, DataError for features
    that cannot be read, or that do not fit into float16.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"to={folder} holds other data: give a folder that is new or empty")
    ends = np.concatenate([np.zeros(1, dtype=np.int64), videos.frames]).cumsum()
    size, above = int(ends[-1]) * videos.width * dtype.itemsize, _existing(folder)
    if (free := shutil.disk_usage(above).free) < size:
        raise ConfigError(f"to={folder}: the features take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there")
    with appearing_folder(folder) as temporary:
        with (temporary / FEATURES).open("xb") as file:
            head = {"descr": dtype.str, "fortran_order": False, "shape": (int(ends[-1]), videos.width)}
            npy.write_array_header_1_0(file, head)
            _write(file, videos, dtype)
        ids = np.array([os.fsencode(name) for name in videos.ids], dtype=np.bytes_)
        np.savez(temporary / INDEX, ids=ids, ends=ends)
        for name in (FEATURES, INDEX):
            sync(temporary / name)  # or a power failure could empty it after the folder got its name


def _write(file: IO[bytes], videos: Videos, dtype: np.dtype[np.floating]) -> None:
    for video, features in enumerate(_arrays(videos)):
        with np.errstate(over="ignore"):
            stored = features.astype(dtype, copy=False)
        if stored.dtype != features.dtype and (np.isinf(stored) & np.isfinite(features)).any():
            raise DataError(
                f"{videos.shown(video)} holds features up to {np.abs(features).max():.4g}, too large for float16, whose "
                "largest number is 65504: pack them as they are, without dtype=float16"
            )
        file.write(stored.data)


def _arrays(videos: Videos) -> Iterator[Stored]:
    """Yields the features of each video."""

    def whole(video: int) -> Stored:
        features = np.empty((int(videos.frames[video]), videos.width), dtype=videos.dtype)
        videos.read(video, np.arange(len(features)), features)
        return features

    return ahead((partial(whole, video) for video in range(len(videos.frames))), READERS)


def _existing(folder: Path) -> Path:
    """Returns the nearest folder above that exists."""
    return next(above for above in [folder, *folder.resolve().parents] if above.exists())
