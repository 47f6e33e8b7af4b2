"""Sample check of image files before all are decoded: 16-bit images that hold fewer bits, files of several pages."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from ltrun.data.containers import Container
from ltrun.data.decoding import Decoding
from ltrun.data.grey import is_16_bit, known_range
from ltrun.data.images import opened, quiet
from ltrun.errors import DataError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SOME = 1000  # files in the sample, evenly spaced
DARK = 2**14  # if no pixel reaches it, no image is brighter than a quarter of white
PLAIN = {".jpg", ".jpeg", ".jfif", ".bmp"}  # endings of files of one page with 8 bits per channel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Header:
    """Header of an encoded image. deep: whether it holds 16 bits per channel, and not their range. frames: number of images."""

    row: int
    deep: bool = False
    frames: int = 1


def look_at(images: Container, how: Decoding) -> None:
    """Logs that only the first page of a file counts. Raises DataError if all 16-bit images are nearly black.

    Cameras and scanners of 10, 12 or 14 bits write 16-bit files, whose brightest pixels may be a sixty-fourth of white.
    """
    rows = range(0, len(images), -(-len(images) // SOME))
    some = [row for row in rows if PurePath(images.shown(row)).suffix.lower() not in PLAIN]
    with quiet(), ThreadPoolExecutor(8) as pool:
        headers = list(pool.map(partial(_header, images), some))
        if several := next((header for header in headers if header.frames > 1), None):
            log.info(
                "files such as %s hold several images (%d): only the first counts", images.shown(several.row), several.frames
            )
        deep = [] if how.grey_range else [header.row for header in headers if header.deep]
        brightest = 0
        for row in deep:
            brightest = max(brightest, _brightest(images, row, how))
            if brightest >= DARK:
                return
    if brightest:
        bits = max(8, brightest.bit_length())
        raise DataError(
            f"{images.shown(deep[0])} and the other 16-bit images reach {brightest:,} of 65,535 and would show no contrast: "
            f"give their range, such as dataset.grey_range=[0,{2**bits - 1}], or [0,65535] if they are that dark"
        )


def _header(images: Container, row: int) -> Header:
    """Returns the header of an image; an empty header if the image is unreadable, because decoding it says why."""
    try:
        with images.open(row) as file, opened(file) as image:
            return Header(row, _is_deep(image), getattr(image, "n_frames", 1))
    except Exception:  # parsers raise errors of any kind on foreign bytes
        return Header(row)


def _is_deep(image: ImageFile) -> bool:
    if image.mode.startswith("I"):
        return is_16_bit(image) and known_range(image) is None
    return any(";16" in str(tile.args) for tile in image.tile)  # 16-bit colours, which Pillow cuts to 8 bits


def _brightest(images: Container, row: int, how: Decoding) -> int:
    """Returns the largest value of a 16-bit image in any channel but transparency; 0 if the value cannot be known."""
    try:
        with images.open(row) as file, opened(file) as image:
            if image.width * image.height > how.max_pixels:
                return 0
            if image.mode.startswith("I"):  # converting it would clip at 255
                return int(image.getextrema()[1])  # type: ignore[arg-type]
            colours = image.convert("RGB").getextrema()
            return max(256 * int(high) + 255 for _, high in colours)  # type: ignore[misc]
    except Exception:  # as above
        return 0
