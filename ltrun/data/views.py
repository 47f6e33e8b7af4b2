"""Views of whole photographs: the centre for evaluation, and random crops for training.

Baseline and progressive JPEGs are decoded by torchvision, whose pixels equal Pillow's in two thirds of the time; Pillow decodes
all else: PNG and other kinds, CMYK, and JPEGs that torchvision refuses. Parts of the decoded photograph are scaled with
antialiasing, as Pillow scales them, up to two levels of 255.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ltrun.data.images import Decoding, opened, refuse_large, rgb, without_text
from ltrun.parts import Crop

JPEG = b"\xff\xd8\xff"
FRAMES = {0xC0, 0xC1, 0xC2}  # markers of baseline, extended and progressive JPEGs of Huffman codes
STRIP = 16
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment


def photograph(content: bytes, how: Decoding) -> Tensor:
    """Returns (3, H, W) uint8 of a whole encoded image. Raises Unreadable, or the decoders' errors for a damaged image."""
    if (size := jpeg_size(content)) is not None:
        refuse_large(size, size[0] * size[1], how)
        try:
            return _by_torchvision(content, how)
        except RuntimeError:  # a JPEG that libjpeg alone refuses, or finds damaged: Pillow decides and says why
            pass
    try:
        return _by_pillow(content, how)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):  # in Pillow's message for too much text
            raise
    return _by_pillow(without_text(content), how)


def centre(content: bytes, how: Decoding) -> NDArray[np.uint8]:
    """Returns (3, size, size): the shorter side scaled to `resize` pixels, then the centre square; as torchvision's Resize and
    CenterCrop round. Of a strip more than STRIP times as long as it is wide, only the middle is scaled."""
    assert how.resize is not None
    whole = photograph(content, how)
    short = min(whole.shape[1:])
    whole = _middle(whole, *(min(side, STRIP * short) for side in whole.shape[1:]))
    height, width = (how.resize if side == short else int(how.resize * side / short) for side in whole.shape[1:])
    scaled = whole if whole.shape[1:] == (height, width) else _scaled(whole, height, width, how.interpolation)
    return _middle(scaled, how.size, how.size).numpy()


def crop(content: bytes, how: Decoding, at: Crop, draws: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Returns (3, size, size): a random crop, scaled. draws: see `RandomCrop.box`."""
    whole = photograph(content, how)
    top, left, height, width = at.box(whole.shape[1], whole.shape[2], draws)
    return _scaled(whole[:, top : top + height, left : left + width], at.size, at.size, at.interpolation).numpy()


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


def _by_torchvision(content: bytes, how: Decoding) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return decode_jpeg(data, mode=ImageReadMode.RGB, apply_exif_orientation=how.upright)


def _by_pillow(content: bytes, how: Decoding) -> Tensor:
    with opened(io.BytesIO(content)) as image:
        refuse_large(image.size, image.width * image.height, how)
        return torch.from_numpy(np.array(rgb(image, how))).permute(2, 0, 1)


def _scaled(part: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    return interpolate(part[None], (height, width), mode=interpolation, antialias=True)[0]


def _middle(image: Tensor, height: int, width: int) -> Tensor:
    top, left = round((image.shape[1] - height) / 2), round((image.shape[2] - width) / 2)
    return image[:, top : top + height, left : left + width]
