"""JPEG by torchvision, whose pixels equal Pillow's in two thirds of the time."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

MAGIC = b"\xff\xd8\xff"
FRAMES = {0xC0, 0xC1, 0xC2}  # markers of baseline, extended and progressive JPEGs of Huffman codes
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Returns the width and height of a JPEG that torchvision decodes as Pillow does; None for CMYK and for other kinds."""
    if not content.startswith(MAGIC):
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


def jpegs(contents: Sequence[Tensor], device: torch.device, upright: bool = False) -> list[Tensor]:
    """Returns (3, H, W) uint8 of each JPEG, given as uint8 bytes, on the device that decodes it.

    Raises RuntimeError for a JPEG that the decoder refuses, and ImportError where torchvision has no decoder any more.
    """
    from torchvision.io import ImageReadMode, decode_jpeg

    # torchvision 0.29 announces that its decoders will move to another package.
    warnings.filterwarnings("ignore", message="The image decoding and encoding", category=DeprecationWarning)
    if device.type == "cpu":
        return [decode_jpeg(content, mode=ImageReadMode.RGB, apply_exif_orientation=upright) for content in contents]
    return list(decode_jpeg(list(contents), mode=ImageReadMode.RGB, device=device))
