"""RandAugment: a few random operations of one magnitude on each image of a batch."""

from __future__ import annotations

from typing import Literal

import torch

from ltrun.augmentation.operations import apply
from ltrun.augmentation.tables import LONG_TAILED, RAND, TIMM
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch

TABLES = {"timm": (TIMM, 10.0), "torchvision": (RAND, 30.0), "long_tailed": (LONG_TAILED, 30.0)}  # and the largest magnitude


class RandAugment(Augment):
    """Applies `operations` operations of a table to each image, drawn with replacement, each with `probability`.

    The magnitude is drawn from a Gaussian round `magnitude` with deviation `spread` for each operation, and cut to 0 to 10, or
    to 30 outside timm's table. Pixels from outside an image have the grey level `fill` (0 to 255). Images of one channel have
    no colour, so `color` leaves them unchanged.

    table: 'timm', whose rand-n2-m10-mstd0.5 is in the published recipes of large data sets; there outside pixels have the mean
    colour, and bilinear or bicubic interpolation stands where the nearest pixel does here. 'torchvision'. 'long_tailed', the 16
    operations of the long-tailed repositories (randaug.py of CUDA): Posterize keeps one bit below magnitude 15, Solarize is the
    weaker the larger the magnitude, enhancements change nothing at 15, and translations reach 100 pixels, whatever the side.

    Cubuk et al., 2019, arXiv 1909.13719.
    """

    def __init__(
        self,
        table: Literal["timm", "torchvision", "long_tailed"],
        operations: int = 2,
        magnitude: float = 10.0,
        spread: float = 0.5,
        probability: float = 0.5,
        fill: int = 116,
    ):
        super().__init__()
        self.table, (_, self.largest) = table, TABLES[table]  # the name, because functions of a table cannot be pickled
        if operations < 1:
            raise ConfigError(f"operations must be at least 1, got {operations}")
        if not 0 <= magnitude <= self.largest:
            raise ConfigError(f"magnitude must lie between 0 and {self.largest:g}, got {magnitude}")
        if spread < 0:
            raise ConfigError(f"spread must be at least 0, got {spread}")
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        if not 0 <= fill <= 255:
            raise ConfigError(f"fill must lie between 0 and 255, got {fill}")
        self.operations, self.magnitude, self.spread = operations, magnitude, spread
        self.probability, self.fill = probability, fill

    def forward(self, batch: Batch) -> Batch:
        images, size, device = batch.inputs, (self.operations, len(batch)), batch.inputs.device
        level = (self.magnitude + self.spread * torch.randn(size, device=device)).clamp(0, self.largest) / self.largest
        operation, value = TABLES[self.table][0].draw(level, images.shape)
        operation = operation * (torch.rand(size, device=device) < self.probability)  # 0 is the identity
        place = torch.rand(*size, 2, device=device)
        for each in range(self.operations):
            images = apply(images, operation[each], value[each], self.fill, place[each])
        return batch.replace(inputs=images)
