"""From image files of any common kind to uint8 RGB."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow knows forty more, some of which start other programs (EPS) or are parsers that nobody looks after.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
MANY = 2000

log = logging.getLogger(__name__)


def decode_all(
    sources: Sequence[Path | bytes], size: int, crop: bool, threads: int | None = None
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """(N, 3, size, size) images, and for each row that could not be read the reason; such a row stays zero.

    crop: cut the centre square and scale it to `size`; otherwise an image of another size counts as unreadable.
    threads: None for those of the machine, up to eight.
    """
    from PIL import Image

    images = np.zeros((len(sources), 3, size, size), dtype=np.uint8)
    reasons: dict[int, str] = {}
    if len(sources) >= MANY and threads != 1:  # not the batches of a stream
        log.info("decoding %s images", f"{len(sources):,}")
    # Photos decode outside Python's lock, so threads help; small images of the final size are faster without.
    threads = (threads or min(8, os.cpu_count() or 1)) if crop else 1
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # of Pillow's: palettes, odd EXIF
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        decode = partial(_decode, size=size, crop=crop)
        for row, pixels in enumerate(pool.map(decode, sources) if threads > 1 else map(decode, sources)):
            if isinstance(pixels, str):
                reasons[row] = pixels
            else:
                images[row] = pixels
    return images, reasons


def unreadable(path: Path, reason: str, others: int = 0) -> DataError:
    """The sentence for an image that the user may also leave out. others: how many more cannot be read."""
    more = f", and {others} more cannot be read" if others else ""
    return DataError(f"{path} {reason}{more}: repair or remove it, or go on without by dataset.skip_unreadable=true")


def _decode(source: Path | bytes, size: int, crop: bool) -> NDArray[np.uint8] | str:
    """(3, size, size), or in words why not."""
    from PIL import Image, UnidentifiedImageError

    if (len(source) if isinstance(source, bytes) else _size(source)) == 0:
        return "is empty (0 bytes)"
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if not crop and image.size != (size, size):
                return f"is {image.width} x {image.height} pixels, not {size} x {size}"
            image.draft(image.mode, (2 * size, 2 * size))  # lets JPEG skip detail that the scaling would throw away
            pixels = _square(_rgb(image), size)
    except UnidentifiedImageError:
        return f"is not an image of a known kind ({', '.join(FORMATS)})"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels and is refused, as it would fill the memory"
    except Exception as error:  # a decoder raises whatever its parser stumbles over in foreign bytes
        return f"cannot be read ({getattr(error, 'strerror', None) or str(error) or type(error).__name__})"
    return np.asarray(pixels).transpose(2, 0, 1)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _rgb(image: Image) -> Image:
    """Upright, 8 bits a channel; 16-bit grey keeps its upper 8 bits and transparency lies on white, as viewers show it."""
    from PIL import Image as pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known")
    if image.mode.startswith("I"):  # Pillow's own conversion would clip at 255 and turn the image white
        grey = np.asarray(image).astype(np.int64) >> 8
        image = pillow.fromarray(grey.clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _square(image: Image, size: int) -> Image:
    """The centre square, scaled. Cut first: scaling the short side of a 1 x 100,000 strip would fill the memory."""
    if image.size == (size, size):
        return image
    from PIL.Image import Resampling

    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Resampling.BICUBIC, box=(left, top, left + side, top + side))
