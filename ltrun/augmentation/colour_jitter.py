"""Colour jitter: random brightness, contrast, saturation and hue."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.colour import jitter
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class ColourJitter(Augment):
    """Multiplies brightness, contrast and saturation by 1 +- their value, and turns the hue by up to +- `hue` full turns.

    Each image has its own factors and its own order of the four, as torchvision's ColorJitter. Values are rounded once, after
    the last change, where Pillow rounds after each. The recipes of ImageNet-LT and Places-LT have 0.4, 0.4, 0.4 and no hue
    (Kang et al., 2020, arXiv 1910.09217).
    """

    spread: Tensor

    def __init__(self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.0):
        super().__init__()
        for name, value in {"brightness": brightness, "contrast": contrast, "saturation": saturation}.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must lie between 0 and 1, got {value}")
        if not 0 <= hue <= 0.5:
            raise ConfigError(f"hue must lie between 0 and 0.5 turns, got {hue}")
        self.hue = hue > 0
        self.register_buffer("spread", torch.tensor([brightness, contrast, saturation, hue]), persistent=False)

    def forward(self, batch: Batch) -> Batch:
        images = batch.inputs.float()
        number, device = len(images), images.device
        change = torch.empty(number, 4, device=device).uniform_(-1, 1) * self.spread
        order = torch.rand(number, 3, device=device).argsort(1)
        place = torch.randint(4, (number,), device=device)
        changed = jitter(images, change, order, place, self.hue)
        return batch.replace(inputs=changed.round().to(torch.uint8))
