"""Random crops of the zero-padded image, and random horizontal flips."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.geometry import sample
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


def crop_flip(images: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
    """Crops images, at their own size, from the corner (top, left), and mirrors them where `flip` is true; all three are (B,).

    Pixels outside an image are 0.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) + top[:, None]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + left[:, None]
    return sample(images, rows[:, :, None], columns[:, None, :])


class CropFlip(Augment):
    """Pads with `padding` zero pixels, crops at random to the original size, and mirrors half of the images left to right.

    The augmentation of every CIFAR recipe (He et al., 2015, arXiv 1512.03385). flip: false for images that mean something
    else when mirrored, such as digits.
    """

    def __init__(self, padding: int = 4, flip: bool = True):
        super().__init__()
        if padding < 0:
            raise ConfigError(f"padding must be at least 0 pixels, got {padding}")
        self.padding, self.flip = padding, flip

    def forward(self, batch: Batch) -> Batch:
        size, device = (len(batch),), batch.inputs.device
        top, left = torch.randint(-self.padding, self.padding + 1, (2, *size), device=device)
        flip = torch.rand(size, device=device) < (0.5 if self.flip else 0.0)
        return batch.replace(inputs=crop_flip(batch.inputs, top, left, flip))
