"""Filters of images that round as Pillow does: sums of neighbours, Gaussian blur by boxes, enlargement."""

from __future__ import annotations

import torch
from torch import Tensor

LOBES = 3  # of Lanczos's kernel
PASSES = 3  # of the box filter that stands for a Gaussian


def neighbours(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of the four pixels beside each inner pixel and of the four diagonal ones. Returns two (..., H - 2, W - 2)."""
    rows = pixels[..., :-2, :] + pixels[..., 2:, :]
    beside = rows[..., 1:-1] + pixels[..., 1:-1, :-2] + pixels[..., 1:-1, 2:]
    return beside, rows[..., :-2] + rows[..., 2:]


def box_blur(pixels: Tensor, radius: Tensor) -> Tensor:
    """Blurs by a Gaussian of `radius` (B,) pixels, below 1.4: three weighted means of three pixels, along rows, then columns.

    pixels: (B, channels, H, W) whole levels as floats; returned so, rounded after each pass. The edge pixel is repeated.
    """
    variance = radius.double() ** 2 / PASSES
    share = variance / (2 - 2 * variance)  # of a neighbour, relative to the middle pixel
    middle = (2**24 / (2 * share + 1)).floor()
    side = ((2**24 - middle) / 2).floor()
    middle, side = ((weight / 2**24)[:, None, None, None] for weight in (middle, side))
    for _ in range(2):
        for _ in range(PASSES):
            left = torch.cat([pixels[..., :1], pixels[..., :-1]], dim=3)
            right = torch.cat([pixels[..., 1:], pixels[..., -1:]], dim=3)
            pixels = (middle * pixels + side * (left + right) + 0.5).floor().float()
        pixels = pixels.mT
    return pixels


def zoom(pixels: Tensor, factor: Tensor) -> Tensor:
    """Enlarges by a factor (B,) from 1 on, with Lanczos's kernel, and crops the middle at the old size."""
    height, width = pixels.shape[-2:]
    columns, rows = (_enlarging(factor.double(), size) for size in (width, height))
    across = (pixels.flatten(1, 2) @ columns.mT).unflatten(1, pixels.shape[1:3])
    across = (across + 0.5).floor().clamp(0, 255)
    return (rows[:, None] @ across + 0.5).floor().clamp(0, 255)


def _enlarging(factor: Tensor, size: int) -> Tensor:
    """(B, size, size) float32 weights of the old pixels in each pixel of the crop."""
    enlarged = (size * factor + 1e-9).floor()
    pixel = torch.arange(size, device=factor.device)
    first = (enlarged / 2).floor() - size // 2
    centre = (pixel + first[:, None] + 0.5) * (size / enlarged)[:, None]
    distance = pixel + 0.5 - centre[:, :, None]
    start, stop = (centre - LOBES + 0.5).trunc(), (centre + LOBES + 0.5).trunc()
    near = (pixel >= start[:, :, None]) & (pixel < stop[:, :, None]) & (distance.abs() < LOBES)
    weight = torch.sinc(distance) * torch.sinc(distance / LOBES) * near
    return (weight / weight.sum(2, keepdim=True)).float()
