"""The SimCLR augmentation: the strong view of contrastive learning."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.colour import greyscale, jitter, select
from ltrun.augmentation.geometry import draw_boxes, gaussian, separable, stretch
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class SimCLR(Augment):
    """SimCLR's augmentation: random resized crop, horizontal flip, colour jitter, greyscale and Gaussian blur.

    The key view of PaCo on CIFAR, from MoCo v2: crops of `smallest` to all of the area, mirrored with probability 1/2 if
    `flip`; with probability `jitter`, brightness, contrast and saturation times 1 +- `strength` and the hue +- `hue` turns;
    with probability `grey`, greyscale; with probability `blur`, a Gaussian of 0.1 to 2 pixels. The Gaussian is at most a
    sixteenth of the image's side: 2 pixels on CIFAR's 32, half a pixel on 8x8 digits. Saturation, hue and greyscale leave
    images of one channel unchanged.

    Chen et al., 2020, arXiv 2002.05709, who leave out the blur on CIFAR.
    """

    spread: Tensor

    def __init__(
        self,
        smallest: float = 0.2,
        flip: bool = True,
        jitter: float = 0.8,
        strength: float = 0.4,
        hue: float = 0.1,
        grey: float = 0.2,
        blur: float = 0.5,
    ):
        super().__init__()
        for name, value in {"jitter": jitter, "strength": strength, "grey": grey, "blur": blur}.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must lie between 0 and 1, got {value}")
        if not 0 < smallest <= 1:
            raise ConfigError(f"smallest must be a share of the area, above 0 and at most 1, got {smallest}")
        if not 0 <= hue <= 0.5:
            raise ConfigError(f"hue must lie between 0 and 0.5 turns, got {hue}")
        self.smallest, self.flip, self.jitter, self.grey, self.blur = smallest, flip, jitter, grey, blur
        self.register_buffer("spread", torch.tensor([strength, strength, strength, hue]), persistent=False)

    def forward(self, batch: Batch) -> Batch:
        images = self._crop(batch.inputs.float())
        images = self._recolour(images)
        return batch.replace(inputs=self._smooth(images).round().to(torch.uint8))

    def _crop(self, images: Tensor) -> Tensor:
        batch, _, height, width = images.shape
        top, left, box_height, box_width = draw_boxes(batch, height, width, self.smallest, images.device)
        columns = stretch(left, box_width, width)
        flip = self._chance(images, 0.5 if self.flip else 0.0)
        columns = torch.where(flip[:, None, None], columns.flip(1), columns)
        return separable(images, stretch(top, box_height, height), columns)

    def _recolour(self, images: Tensor) -> Tensor:
        batch, device = len(images), images.device
        change = torch.empty(batch, 4, device=device).uniform_(-1, 1) * self.spread * self._chance(images, self.jitter)[:, None]
        order = torch.rand(batch, 3, device=device).argsort(1)
        place = torch.randint(4, (batch,), device=device)
        images = jitter(images, change, order, place)
        return select(self._chance(images, self.grey), greyscale(images).expand_as(images), images)

    def _smooth(self, images: Tensor) -> Tensor:
        batch, _, height, width = images.shape
        widest = min(2.0, height / 16, width / 16)
        sigma = torch.empty(batch, device=images.device).uniform_(min(0.1, widest), widest)
        sigma = torch.where(self._chance(images, self.blur), sigma, 1e-3)  # so narrow that it changes nothing
        return separable(images, gaussian(sigma, height, 6), gaussian(sigma, width, 6))

    def _chance(self, images: Tensor, probability: float) -> Tensor:
        """(B,) boolean, each True with this probability."""
        return torch.rand(len(images), device=images.device) < probability
