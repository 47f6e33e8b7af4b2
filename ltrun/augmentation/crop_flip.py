"""Random crops of the zero-padded image, and random horizontal flips."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ltrun.augmentation.geometry import sample
from ltrun.data.prepare import Normalise
from ltrun.errors import ConfigError
from ltrun.parts import Augment, Prepare
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
        return batch.replace(inputs=crop_flip(batch.inputs, *self.draw(batch)))

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Draws (B,) top, left and flip."""
        size, device = (len(batch),), batch.rows.device
        top, left = torch.randint(-self.padding, self.padding + 1, (2, *size), device=device)
        return top, left, torch.rand(size, device=device) < (0.5 if self.flip else 0.0)

    def fused_with(self, prepare: Prepare) -> Callable[[Batch], Batch] | None:
        if type(self) is not CropFlip or type(prepare) is not Normalise:  # a class derived from them may compute anything
            return None
        from ltrun.kernels.images import crop_flip_normalise

        def fused(batch: Batch) -> Batch:
            images = crop_flip_normalise(*batch.source, *self.draw(batch), prepare.scale, prepare.shift, prepare.layout)
            return batch.replace(inputs=images)

        return fused
