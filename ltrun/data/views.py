"""Views of whole photographs: the centre for evaluation, and random crops for training.

Baseline and progressive JPEGs are decoded by torchvision, whose pixels equal Pillow's in two thirds of the time; Pillow decodes
all else: PNG and other kinds, CMYK, and JPEGs that torchvision refuses. Parts of the decoded photograph are scaled with
antialiasing, as Pillow scales them, up to two levels of 255.
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ltrun.data.images import Decoding, opened, refuse_large, rgb, without_text
from ltrun.parts import Crop

CPU = torch.device("cpu")
JPEG = b"\xff\xd8\xff"
FRAMES = {0xC0, 0xC1, 0xC2}  # markers of baseline, extended and progressive JPEGs of Huffman codes
STRIP = 16
EXIF, ORIENTATION = 65_536, 0x0112  # bytes in which an EXIF header begins, and its tag
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment


def photograph(content: bytes, how: Decoding) -> Tensor:
    """Returns (3, H, W) uint8 of a whole encoded image. Raises Unreadable, or the decoders' errors for a damaged image."""
    if (size := jpeg_size(content)) is not None:
        refuse_large(size, size[0] * size[1], how)
        try:
            return jpegs([torch.frombuffer(bytearray(content), dtype=torch.uint8)], CPU, how.upright)[0]
        except (RuntimeError, ImportError):  # of a damaged JPEG Pillow says more; without a decoder it gives the same pixels
            pass
    try:
        return _by_pillow(content, how)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):  # in Pillow's message for too much text
            raise
    return _by_pillow(without_text(content), how)


def view(whole: Tensor, how: Decoding, crop: Crop | None = None, draws: NDArray[np.float64] | None = None) -> Tensor:
    """Returns (3, size, size) uint8 of a photograph (3, H, W): a random crop, or without one the view of evaluation.

    draws: see `Crop.box`. On any device.
    """
    if crop is None or draws is None:
        return _centre(whole, how)
    top, left, height, width = crop.box(whole.shape[1], whole.shape[2], draws)
    return _scaled(whole[:, top : top + height, left : left + width], crop.size, crop.size, crop.interpolation)


def _centre(whole: Tensor, how: Decoding) -> Tensor:
    """Scales the shorter side to `resize` pixels, or else to `size`, and cuts the centre square; as torchvision's Resize and
    CenterCrop round. Of a strip more than STRIP times as long as it is wide, only the middle is scaled."""
    short, side = min(whole.shape[1:]), how.resize or how.size
    whole = _middle(whole, *(min(length, STRIP * short) for length in whole.shape[1:]))
    height, width = (side if length == short else int(side * length / short) for length in whole.shape[1:])
    scaled = whole if whole.shape[1:] == (height, width) else _scaled(whole, height, width, how.interpolation)
    return _middle(scaled, how.size, how.size)


def is_plain_jpeg(content: bytes, how: Decoding) -> bool:
    """Returns whether an image is a JPEG that a device may decode: of a size that `how` allows, and not to be turned."""
    size = jpeg_size(content)
    if size is None:
        return False
    refuse_large(size, size[0] * size[1], how)
    if not how.upright or b"Exif\0\0" not in content[:EXIF]:
        return True
    with opened(io.BytesIO(content)) as image:
        return image.getexif().get(ORIENTATION, 1) == 1


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Returns the width and height of a JPEG that torchvision decodes as Pillow does; None for CMYK and for other kinds."""
    if not content.startswith(JPEG):
        return None
    at, end = 2, len(content)
    while at + 9 < end and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES:
            height, width, channels = struct.unpack_from(">HHB", content, at + 5)
            return (width, height) if channels in (1, 3) and width and height else None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return None  # lossless, hierarchical or arithmetic
        at += 2 + (content[at + 2] << 8) + content[at + 3]
    return None


def jpegs(contents: list[Tensor], device: torch.device, upright: bool = False) -> list[Tensor]:
    """Returns (3, H, W) uint8 of each JPEG, given as uint8 bytes, on the device that decodes it.

    Raises RuntimeError for a JPEG that the decoder refuses, and ImportError where torchvision has no decoder any more.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    # torchvision 0.29 announces that its decoders will move to another package.
    warnings.filterwarnings("ignore", message="The image decoding and encoding", category=DeprecationWarning)
    if device.type == "cpu":
        return [decode_jpeg(content, mode=ImageReadMode.RGB, apply_exif_orientation=upright) for content in contents]
    return list(decode_jpeg(contents, mode=ImageReadMode.RGB, device=device))


def _by_pillow(content: bytes, how: Decoding) -> Tensor:
    with opened(io.BytesIO(content)) as image:
        refuse_large(image.size, image.width * image.height, how)
        return torch.from_numpy(np.array(rgb(image, how))).permute(2, 0, 1)


def _scaled(part: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    if part.device.type == "cpu":
        return interpolate(part[None], (height, width), mode=interpolation, antialias=True)[0]
    scaled = interpolate(part[None].float(), (height, width), mode=interpolation, antialias=True)[0]
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _middle(image: Tensor, height: int, width: int) -> Tensor:
    top, left = round((image.shape[1] - height) / 2), round((image.shape[2] - width) / 2)
    return image[:, top : top + height, left : left + width]
