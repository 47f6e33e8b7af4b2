"""Random greyscale images."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.chosen import on_chosen
from ltrun.augmentation.colour import luma
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


def greyed(images: Tensor) -> Tensor:
    return luma(images.float()).to(torch.uint8).expand_as(images)


class Grey(Augment):
    """Turns images grey with a probability: all three channels become the luma, as by Pillow. Images of one channel stay.

    Chen et al., 2020, arXiv 2002.05709: a step of SimCLR's augmentation.
    """

    def __init__(self, probability: float = 0.2):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        self.probability = probability

    def forward(self, batch: Batch) -> Batch:
        chosen = torch.rand(len(batch), device=batch.inputs.device) < self.probability
        return batch.replace(inputs=on_chosen(batch.inputs, chosen, greyed))
