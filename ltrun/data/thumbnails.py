"""Thumbnails of images as data URIs, for pages that fetch nothing."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ltrun.data.decoding import Decoding
from ltrun.data.images import decode_all
from ltrun.errors import DataError

SIDE = 128  # pixels of a thumbnail of a file
AT_ONCE = 500  # files that are decoded together


@dataclass(frozen=True)
class Thumbnail:
    """uri: the picture as a data URI, or None. note: a remark on the picture, or why there is no picture."""

    uri: str | None
    note: str = ""


def of_files(root: Path, names: Sequence[str], read_at: float) -> list[Thumbnail]:
    """Returns the centre squares of files below a root. read_at: when the run read them, in seconds since 1970.

    A file that is gone, is unreadable or lies outside the root has a note instead of a picture; a file that is younger than the
    run has both.
    """
    inside = os.path.realpath(root)
    found: list[Thumbnail] = []
    for first in range(0, len(names), AT_ONCE):
        paths = [root / name for name in names[first : first + AT_ONCE]]
        notes = [_missing(path, inside) for path in paths]
        there = [path for path, note in zip(paths, notes, strict=True) if not note]
        images, reasons = decode_all(there, Decoding(SIDE))
        decoded = iter(range(len(there)))
        for path, note in zip(paths, notes, strict=True):
            row = None if note else next(decoded)
            if row is None or row in reasons:
                found.append(Thumbnail(None, note if row is None else reasons[row]))
            else:
                changed = "changed since the run" if path.stat().st_mtime > read_at else ""
                found.append(Thumbnail(_uri(images[row], "jpeg"), changed))
    return found


def of_stored(pixels: Callable[[NDArray[np.int64]], Tensor], rows: NDArray[np.int64]) -> list[Thumbnail]:
    """Returns the images that a store reads. pixels: rows -> (R, channels, H, W) uint8; raises DataError for an unreadable one.

    Images of at most SIDE pixels a side keep their pixels; an unreadable image has a note instead of a picture.
    """
    found: list[Thumbnail] = []
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        try:
            found += [_of(image) for image in pixels(some).cpu().numpy()]
        except DataError:
            found += [_or_note(pixels, row) for row in some]
    return found


def _or_note(pixels: Callable[[NDArray[np.int64]], Tensor], row: np.int64) -> Thumbnail:
    try:
        return _of(pixels(np.array([row]))[0].cpu().numpy())
    except DataError as error:
        return Thumbnail(None, str(error).partition(":")[0])


def _of(image: NDArray[np.uint8]) -> Thumbnail:
    return Thumbnail(_uri(image, "png" if max(image.shape[1:]) <= SIDE else "jpeg"))


def _missing(path: Path, inside: str) -> str:
    if not Path(os.path.realpath(path)).is_relative_to(inside):
        return "lies outside the data set"
    return "" if path.is_file() else "is gone"


def _uri(image: NDArray[np.uint8], kind: str) -> str:
    """Returns the data URI of an image (channels, H, W), at most SIDE pixels a side."""
    from PIL import Image

    grey = len(image) == 1
    pixels = Image.fromarray(np.ascontiguousarray(image[0] if grey else image.transpose(1, 2, 0)))
    pixels.thumbnail((SIDE, SIDE))  # smaller images stay as they are
    data = io.BytesIO()
    pixels.save(data, format=kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
