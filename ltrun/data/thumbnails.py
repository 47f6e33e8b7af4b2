"""Thumbnails of images as data URIs, for pages that fetch nothing."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.images import Decoding, decode_all

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


def of_pixels(images: NDArray[np.uint8]) -> list[Thumbnail]:
    """Returns stored pixels (N, channels, H, W), of one or three channels, at their own size."""
    return [Thumbnail(_uri(image, "png")) for image in images]


def _missing(path: Path, inside: str) -> str:
    if not Path(os.path.realpath(path)).is_relative_to(inside):
        return "lies outside the data set"
    return "" if path.is_file() else "is gone"


def _uri(image: NDArray[np.uint8], kind: str) -> str:
    """Returns the data URI of an image (channels, H, W)."""
    from PIL import Image

    grey = len(image) == 1
    pixels = Image.fromarray(np.ascontiguousarray(image[0] if grey else image.transpose(1, 2, 0)))
    data = io.BytesIO()
    pixels.save(data, format=kind, quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
