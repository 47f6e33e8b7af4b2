"""Decoding of image files of all common kinds to uint8 RGB."""

from __future__ import annotations

import io
import logging
import os
import stat
import struct
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ltrun.data.decoding import Decoding
from ltrun.data.grey import range_of, to_8_bits
from ltrun.data.png import without_text
from ltrun.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image
    from PIL.ImageFile import ImageFile
    from torch import Tensor

# Pillow knows forty more formats: some start other programs (EPS), some have parsers that nobody maintains.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
MANY = 2000
POINTER = b"version https://"  # git-lfs.github.com/spec/v1
EXIF, ORIENTATION = 65_536, 0x0112  # bytes in which the EXIF header of a JPEG begins, and its tag

log = logging.getLogger(__name__)
T = TypeVar("T")


Encoded = Path | bytes | Callable[[], bytes]  # an encoded image: its file, its bytes, or a call that reads them


def decode_all(
    sources: Sequence[Encoded], how: Decoding, threads: int | None = None
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Returns (N, 3, size, size) images, and row -> why its image is unreadable; the pixels of such a row are zero.

    threads: None for one per core of the machine, up to eight.
    """
    images = np.zeros((len(sources), 3, how.size, how.size), dtype=np.uint8)
    reasons: dict[int, str] = {}
    if len(sources) >= MANY and threads != 1:  # not the batches of a stream
        log.info("decoding %s images", f"{len(sources):,}")
    # Photos decode outside Python's lock, so threads help; small images of the final size are faster without.
    threads = (threads or min(8, os.cpu_count() or 1)) if how.crop else 1
    with quiet(), ThreadPoolExecutor(threads) as pool:
        decode = partial(_decode, how=how)
        for row, pixels in enumerate(pool.map(decode, sources) if threads > 1 else map(decode, sources)):
            if isinstance(pixels, str):
                reasons[row] = pixels
            else:
                images[row] = pixels
    return images, reasons


class Unreadable(Exception):
    """An image cannot be read, for a reason in words that follow its name."""


def unreadable(name: str, reason: str, others: int = 0) -> DataError:
    """Returns the error for an unreadable image that may be left out. name: as a sentence shows it. others: unreadable too."""
    more = f", and {others} more cannot be read" if others else ""
    return DataError(f"{name} {reason}{more}: repair or remove it, or leave it out with dataset.skip_unreadable=true")


def shown(path: Path | str) -> str:
    """Returns a path for a sentence; escapes what does not print, such as a line break (\\n) or a byte not UTF-8 (\\udcff)."""
    text = str(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextmanager
def quiet() -> Iterator[None]:
    """Loads all parsers of Pillow, and silences its warnings of palettes, odd EXIF and sizes."""
    from PIL import Image

    Image.init()  # here, because threads would load parsers at the same time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def opened(file: IO[bytes], name: str = "") -> ImageFile:
    """Returns the image of a file, its pixels not yet decoded. Raises ValueError for a file that is not an image.

    Unlike Image.open, it accepts any size in the file: the size after decoding counts.
    """
    from PIL import Image

    prefix = file.read(16)
    for kind in FORMATS:
        factory, accept = Image.OPEN[kind]
        if len(prefix) < 2 or accept is None or accept(prefix) is not True:
            continue
        file.seek(0)
        try:
            return factory(file, name)
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            raise ValueError(f"it begins as {kind}, then: {error}") from None
    raise Pointer if prefix == POINTER else UnknownKind


class UnknownKind(ValueError):
    """A file does not begin as an image of a known kind does."""


class Pointer(UnknownKind):
    """A file is a pointer to an image that Git LFS keeps."""


def no_file(path: Path) -> str | None:
    """Returns why a path holds nothing to read, or None. Ask before opening the path: to open a pipe blocks for ever."""
    try:
        status = path.stat()
    except OSError:
        return None  # opening the path says why
    if stat.S_ISREG(status.st_mode):
        return None if status.st_size else "is empty (0 bytes)"
    return None if stat.S_ISDIR(status.st_mode) else "is a pipe, a socket or a device, not a file"


def _decode(source: Encoded, how: Decoding) -> NDArray[np.uint8] | str:
    """Returns (3, size, size) pixels, or in words why the image is unreadable."""
    return explained(source, lambda content: decoded(content, how))


def explained(source: Encoded, decode: Callable[[bytes], T]) -> T | str:
    """Returns decode(bytes of an encoded image), or in words why the image is unreadable."""
    try:
        content = contents(source)
        return decode(content) if content else "is empty (0 bytes)"
    except Unreadable as error:
        return str(error)
    except Pointer:
        return "is a Git LFS pointer, not an image (`git lfs pull` fetches the image)"
    except UnknownKind:
        return f"is not an image of a known kind ({', '.join(FORMATS)})"
    except Exception as error:  # decoders raise errors of any kind on foreign bytes
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"cannot be read ({shown(' '.join(words.split()))})"


def contents(source: Encoded) -> bytes:
    """Returns the bytes of an encoded image. Raises OSError, or Unreadable for a path that is not a file."""
    if isinstance(source, Path):
        if reason := no_file(source):
            raise Unreadable(reason)
        return source.read_bytes()
    return source if isinstance(source, bytes) else source()


def decoded(content: bytes, how: Decoding) -> NDArray[np.uint8]:
    """Returns (3, size, size) pixels. Raises Unreadable, or Pillow's errors for a damaged image."""
    if how.whole:
        from ltrun.data.views import view

        return view(photograph(content, how), how).numpy()
    try:
        return _read(io.BytesIO(content), how)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):  # in Pillow's message for too much text
            raise
    return _read(io.BytesIO(without_text(content)), how)


def photograph(content: bytes, how: Decoding) -> Tensor:
    """Returns (3, H, W) uint8 of a whole encoded image: JPEGs by torchvision, all else by Pillow, which gives the same pixels.

    Raises Unreadable, or the decoders' errors for a damaged image."""
    import torch

    from ltrun.data.jpeg import jpeg_size, jpegs

    if (size := jpeg_size(content)) is not None:
        refuse_large(size, size[0] * size[1], how)
        try:
            return jpegs([torch.frombuffer(bytearray(content), dtype=torch.uint8)], torch.device("cpu"), how.upright)[0]
        except (RuntimeError, ImportError):  # of a damaged JPEG Pillow says more; without a decoder it gives the same pixels
            pass
    try:
        return _by_pillow(content, how)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):  # in Pillow's message for too much text
            raise
    return _by_pillow(without_text(content), how)


def is_plain_jpeg(content: bytes, how: Decoding) -> bool:
    """Returns whether an image is a JPEG that a device may decode: of a size that `how` allows, and not to be turned."""
    from ltrun.data.jpeg import jpeg_size

    size = jpeg_size(content)
    if size is None:
        return False
    refuse_large(size, size[0] * size[1], how)
    if not how.upright or b"Exif\0\0" not in content[:EXIF]:
        return True
    with opened(io.BytesIO(content)) as image:
        return image.getexif().get(ORIENTATION, 1) == 1


def _by_pillow(content: bytes, how: Decoding) -> Tensor:
    import torch

    with opened(io.BytesIO(content)) as image:
        refuse_large(image.size, image.width * image.height, how)
        return torch.from_numpy(np.array(rgb(image, how))).permute(2, 0, 1)


def _read(file: IO[bytes], how: Decoding) -> NDArray[np.uint8]:
    with opened(file) as image:
        whole = image.size
        if not how.crop and whole != (how.size, how.size):
            raise Unreadable(f"is {image.width} x {image.height} pixels, not {how.size} x {how.size}")
        image.draft(image.mode, (2 * how.size, 2 * how.size))  # lets JPEG skip detail that the scaling would throw away
        width, height = whole if "progressive" in image.info else image.size  # progressive: all coefficients are held at once
        refuse_large(whole, width * height, how)
        pixels = _square(rgb(image, how), how.size)
    return np.asarray(pixels).transpose(2, 0, 1)


def refuse_large(whole: tuple[int, int], pixels: int, how: Decoding) -> None:
    """Raises Unreadable for an image that decodes to too many pixels. whole: its width and height."""
    if pixels > how.max_pixels:
        raise Unreadable(
            f"has {whole[0]:,} x {whole[1]:,} pixels and is refused, as it could fill the memory (scale it down, or "
            f"train with dataset.max_pixels={pixels})"
        )


def rgb(file: ImageFile, how: Decoding) -> Image:
    """Returns the image as RGB of 8 bits per channel, upright if `how` says so.

    Transparent pixels are laid on white, as viewers show them.
    """
    from PIL import Image as pillow
    from PIL import ImageOps

    grey_range = range_of(file, how.grey_range)
    image: Image = ImageOps.exif_transpose(file) if how.upright else file
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow's own conversion would clip at 255 and turn the image white
        if grey_range is None:
            kind = "floating-point" if image.mode == "F" else "integer"
            raise ValueError(f"its {kind} pixels have no known range: give dataset.grey_range=[low,high]")
        image = pillow.fromarray(to_8_bits(np.asarray(image), *grey_range))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _square(image: Image, size: int) -> Image:
    """Returns the centre square, scaled. Cuts first: scaling the short side of a 1 x 100,000 strip would fill the memory."""
    if image.size == (size, size):
        return image
    from PIL.Image import Resampling

    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return image.resize((size, size), Resampling.BICUBIC, box=(left, top, left + side, top + side))
