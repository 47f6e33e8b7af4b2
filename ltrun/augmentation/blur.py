"""Random Gaussian blur."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.chosen import on_chosen
from ltrun.augmentation.geometry import gaussian, separable
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch

REACH = 3  # deviations beyond which a Gaussian counts as nothing


def blurred(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blurs each image by a Gaussian of sigma (B,) pixels, whose edge pixel is repeated `reach` times."""
    height, width = images.shape[-2:]
    smooth = separable(images.float(), gaussian(sigma, height, reach), gaussian(sigma, width, reach))
    return smooth.round().to(torch.uint8)


class Blur(Augment):
    """Blurs images with a probability, by a Gaussian whose deviation is drawn from `smallest` to `largest` pixels.

    The deviation is at most a sixteenth of the image's side: 2 pixels on CIFAR's 32, half a pixel on 8x8 digits.

    Chen et al., 2020, arXiv 2002.05709: a step of SimCLR's augmentation.
    """

    def __init__(self, probability: float = 0.5, smallest: float = 0.1, largest: float = 2.0):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        if not 0 < smallest <= largest:
            raise ConfigError(f"smallest must lie above 0 and not above largest, got {smallest} and {largest}")
        self.probability, self.smallest, self.largest = probability, smallest, largest

    def forward(self, batch: Batch) -> Batch:
        images, number = batch.inputs, len(batch)
        widest = min(self.largest, min(images.shape[-2:]) / 16)
        sigma = torch.empty(number, device=images.device).uniform_(min(self.smallest, widest), widest)
        chosen = torch.rand(number, device=images.device) < self.probability
        reach = -int(-REACH * widest // 1)

        def blur(images: Tensor, sigma: Tensor) -> Tensor:
            return blurred(images, sigma, reach)

        return batch.replace(inputs=on_chosen(images, chosen, blur, sigma))
