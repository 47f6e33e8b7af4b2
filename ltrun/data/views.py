"""Views of whole photographs: the centre for evaluation, and random crops for training, scaled with antialiasing.

The pixels equal those of Pillow's crop and resize up to two levels of 255.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ltrun.data.decoding import Decoding
from ltrun.parts import Crop

STRIP = 16


def view(whole: Tensor, how: Decoding, crop: Crop | None = None, draws: NDArray[np.float64] | None = None) -> Tensor:
    """Returns (3, size, size) uint8 of a photograph (3, H, W): a random crop, or without one the view of evaluation.

    how: of the view of evaluation. draws: see `Crop.box`. On any device.
    """
    if crop is None or draws is None:
        if how.stretch:
            return _scaled(whole, how.size, how.size, "bilinear")
        return _centre(whole, how.size, how.resize or how.size)
    top, left, height, width = crop.box(whole.shape[1], whole.shape[2], draws)
    return _scaled(whole[:, top : top + height, left : left + width], crop.size, crop.size, crop.interpolation)


def _centre(whole: Tensor, size: int, resize: int) -> Tensor:
    """Scales the shorter side to `resize` pixels and cuts the centre square; as torchvision's Resize and
    CenterCrop round. Of a strip more than STRIP times as long as it is wide, only the middle is scaled."""
    short = min(whole.shape[1:])
    whole = _middle(whole, *(min(length, STRIP * short) for length in whole.shape[1:]))
    height, width = (resize if length == short else int(resize * length / short) for length in whole.shape[1:])
    scaled = whole if whole.shape[1:] == (height, width) else _scaled(whole, height, width, "bilinear")
    return _middle(scaled, size, size)


def _scaled(part: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    if part.device.type == "cpu":
        return interpolate(part[None], (height, width), mode=interpolation, antialias=True)[0]
    scaled = interpolate(part[None].float(), (height, width), mode=interpolation, antialias=True)[0]
    return scaled.round().clamp(0, 255).to(torch.uint8)


def _middle(image: Tensor, height: int, width: int) -> Tensor:
    top, left = round((image.shape[1] - height) / 2), round((image.shape[2] - width) / 2)
    return image[:, top : top + height, left : left + width]
