"""Cutout: a black square at a random place of each image."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


def holes(y: Tensor, x: Tensor, reach: int, height: int, width: int) -> Tensor:
    """(B, 1, H, W) true in a square round each pixel (y, x) (B,): `reach` pixels before it, and reach - 1 behind."""
    rows = torch.arange(height, device=y.device)[:, None] - y[:, None, None, None]
    columns = torch.arange(width, device=y.device) - x[:, None, None, None]
    return (rows >= -reach) & (rows < reach) & (columns >= -reach) & (columns < reach)


class Cutout(Augment):
    """Blackens a square of `size` pixels around a random pixel of each image; the square may reach over the edge.

    The square is at most half of the image's shorter side: 16 pixels on CIFAR's 32, as published, and 4 on 8x8 digits, where
    16 pixels would cover everything. Black is 0 before normalisation, as in the long-tailed recipes with Cutout (PaCo, BCL,
    NCL); DeVries and Taylor cut after normalisation, so their square has the mean colour.

    DeVries and Taylor, 2017, arXiv 1708.04552.
    """

    def __init__(self, size: int = 16):
        super().__init__()
        if size < 1:
            raise ConfigError(f"size must be at least 1 pixel, got {size}")
        self.size = size

    def forward(self, batch: Batch) -> Batch:
        images = batch.inputs
        height, width = images.shape[-2:]
        reach = min(self.size, height // 2, width // 2) // 2
        y = torch.randint(height, (len(batch),), device=images.device)
        x = torch.randint(width, (len(batch),), device=images.device)
        return batch.replace(inputs=images.masked_fill(holes(y, x, reach, height, width), 0))
