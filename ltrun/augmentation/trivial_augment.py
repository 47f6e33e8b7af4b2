"""TrivialAugment: one random operation of a random magnitude on each image of a batch."""

from __future__ import annotations

import torch

from ltrun.augmentation.operations import apply
from ltrun.augmentation.tables import TRIVIAL
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch

MAGNITUDES = 31


class TrivialAugment(Augment):
    """Applies one of 14 operations, of which one does nothing, at one of 31 magnitudes; all are equally likely, as are signs.

    The wide space of the paper, as in torchvision: shears to 0.99, translations to 32 pixels whatever the side, rotations to
    135 degrees, enhancements from 0.01 to 1.99, posterize to 2 bits. Pixels from outside an image have the grey level `fill`.
    Images of one channel have no colour, so `color` leaves them unchanged.

    Müller and Hutter, 2021, arXiv 2103.10158.
    """

    def __init__(self, fill: int = 0):
        super().__init__()
        if not 0 <= fill <= 255:
            raise ConfigError(f"fill must lie between 0 and 255, got {fill}")
        self.fill = fill

    def forward(self, batch: Batch) -> Batch:
        images = batch.inputs
        level = torch.randint(MAGNITUDES, (len(batch),), device=images.device) / (MAGNITUDES - 1)
        operation, value = TRIVIAL.draw(level, images.shape)
        return batch.replace(inputs=apply(images, operation, value, self.fill))
