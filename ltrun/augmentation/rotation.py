"""Random rotations by a few degrees."""

from __future__ import annotations

import torch

from ltrun.augmentation.geometry import affine, rotation
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class Rotation(Augment):
    """Rotates each image about its centre by an angle drawn uniformly from -degrees to degrees; nearest pixel, corners 0.

    The same as torchvision's RandomRotation(15) with its defaults. Part of the recipe of RIDE and its descendants, not of
    LDAM's.

    Wang et al., 2021, arXiv 2010.01809.
    """

    def __init__(self, degrees: float = 15.0):
        super().__init__()
        if not 0 <= degrees <= 180:
            raise ConfigError(f"degrees must lie between 0 and 180, got {degrees}")
        self.degrees = degrees

    def forward(self, batch: Batch) -> Batch:
        degrees = (2 * torch.rand(len(batch), device=batch.inputs.device) - 1) * self.degrees
        return batch.replace(inputs=affine(batch.inputs, rotation(degrees)))
