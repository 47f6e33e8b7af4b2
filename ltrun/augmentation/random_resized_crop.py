"""Random resized crop: a random part of a photograph, scaled to a fixed size."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ltrun.augmentation.geometry import draw_boxes, resample, separable
from ltrun.data.crop import Interpolation, RandomCrop
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class RandomResizedCrop(Augment):
    """Cuts a box with a share of the area from `scale` and an aspect (width / height) from `ratio`, scaled to `size` pixels.

    Scaling is antialiased, as Pillow's. A streamed data set cuts the box from the whole photograph while it decodes, with draws
    that depend on the seed, the epoch and the row alone; images that are held decoded are cut on the device.

    Szegedy et al., 2015, arXiv 1409.4842.
    """

    cuts = "photographs"

    def __init__(
        self,
        size: int = 224,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: Interpolation = "bilinear",
    ):
        super().__init__()
        if not size >= 1:
            raise ConfigError(f"size must be at least 1 pixel, got {size}")
        if not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise ConfigError(f"scale must be two rising shares of the area, above 0 and at most 1, got {list(scale)}")
        if not (len(ratio) == 2 and 0 < ratio[0] <= ratio[1]):
            raise ConfigError(f"ratio must be two rising aspects above 0, got {list(ratio)}")
        self.crop: RandomCrop = RandomCrop(size, (scale[0], scale[1]), (ratio[0], ratio[1]), interpolation)

    def forward(self, batch: Batch) -> Batch:
        """Cuts decoded images (B, channels, H, W)."""
        images, crop = batch.inputs, self.crop
        height, width = images.shape[2:]
        box = draw_boxes(len(images), height, width, crop.scale[0], images.device, crop.scale[1], crop.ratio)
        top, left, rows, columns = box
        down = resample(top, rows, height, crop.size, crop.interpolation)
        across = resample(left, columns, width, crop.size, crop.interpolation)
        scaled = separable(images.float(), down, across)
        return batch.replace(inputs=scaled.round().clamp(0, 255).to(torch.uint8))
