"""Stretched crop: a large part of a photograph, scaled to a square without keeping its aspect."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.geometry import resample, separable
from ltrun.data.crop import TRIES, Interpolation, SideCrop
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class StretchedCrop(Augment):
    """Cuts a box whose height and width are shares of the photograph's, drawn apart from `smallest` to 1, and stretches it.

    The box becomes `size` x `size` pixels, antialiased; a box more than twice as long as wide is drawn again. A streamed data
    set cuts it from the whole photograph while it decodes, with draws that depend on the seed, the epoch and the row alone;
    images that are held decoded are cut on the device.

    Wu et al., 2020, arXiv 2007.09654.
    """

    cuts = "photographs"

    def __init__(self, size: int = 224, smallest: float = 0.8, interpolation: Interpolation = "bilinear"):
        super().__init__()
        if not size >= 1:
            raise ConfigError(f"size must be at least 1 pixel, got {size}")
        if not 0 < smallest <= 1:
            raise ConfigError(f"smallest must be a share of each side, above 0 and at most 1, got {smallest}")
        self.crop: SideCrop = SideCrop(size, smallest, interpolation)

    def forward(self, batch: Batch) -> Batch:
        """Cuts decoded images (B, channels, H, W)."""
        images, crop = batch.inputs, self.crop
        height, width = images.shape[2:]
        shares = torch.empty(2, len(images), TRIES, device=images.device).uniform_(crop.smallest, 1)
        rows, columns = height * shares[0], width * shares[1]
        fits = (rows <= 2 * columns) & (columns <= 2 * rows)
        first, found = fits.int().argmax(1, keepdim=True), fits.any(1)
        rows = torch.where(found, rows.gather(1, first)[:, 0], float(height))
        columns = torch.where(found, columns.gather(1, first)[:, 0], float(width))
        place = torch.rand(2, len(images), device=images.device)
        down = resample(*_whole(place[0] * (height - rows), rows), height, crop.size, crop.interpolation)
        across = resample(*_whole(place[1] * (width - columns), columns), width, crop.size, crop.interpolation)
        scaled = separable(images.float(), down, across)
        return batch.replace(inputs=scaled.round().clamp(0, 255).to(torch.uint8))


def _whole(start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Returns start and length in whole pixels, as `SideCrop.box` cuts them."""
    first = start.floor()
    return first, ((start + length).floor() - first).clamp(min=1)
