"""Random horizontal flip."""

from __future__ import annotations

import torch

from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class Flip(Augment):
    """Mirrors images left to right with a probability. Krizhevsky et al., 2012, ImageNet classification, NIPS."""

    def __init__(self, probability: float = 0.5):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        self.probability = probability

    def forward(self, batch: Batch) -> Batch:
        images = batch.inputs
        mirrored = (torch.rand(len(images), device=images.device) < self.probability).to(images.dtype)[:, None, None, None]
        # Bytes wrap around, so this is exact; torch.where with a broadcast mask takes longer.
        return batch.replace(inputs=images + mirrored * (images.flip(3) - images))
