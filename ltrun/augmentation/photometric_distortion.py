"""Photometric distortion of detectors: brightness, contrast, saturation, hue and the order of the channels, each at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ltrun.augmentation.colour import shift_hue
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class Distortion(NamedTuple):
    """Changes of B images; 0 or 1 changes nothing. brightness: (B,) added levels. contrast: (B,) factor. early: (B,) whether
    contrast changes before the colours. saturation: (B,) factor. hue: (B,) full turns. order: (B, 3) channels in the result."""

    brightness: Tensor
    contrast: Tensor
    early: Tensor
    saturation: Tensor
    hue: Tensor
    order: Tensor


def distorted(images: Tensor, by: Distortion) -> Tensor:
    """(B, channels, H, W) float32 from 0 to 255, clipped once, at the end. Images without 3 channels keep their colours.

    Contrast is a factor of all values, as brightness is in other augmentations; here brightness is added.
    """
    one = torch.ones_like(by.contrast)
    images = images + by.brightness[:, None, None, None]
    images = images * torch.where(by.early, by.contrast, one)[:, None, None, None]
    if images.shape[1] == 3:
        value = images.amax(1, keepdim=True)
        images = value - by.saturation[:, None, None, None] * (value - shift_hue(images, by.hue))
        images = images.gather(1, by.order[:, :, None, None].expand_as(images))
    return (images * torch.where(by.early, one, by.contrast)[:, None, None, None]).clamp(0, 255)


class PhotometricDistortion(Augment):
    """Changes each image's brightness, contrast, saturation, hue and order of channels, each with probability one half.

    brightness: largest number of levels of 255 that are added or taken. contrast, saturation: ranges of their factors. hue:
    largest turn in degrees. Contrast changes first or after the colours, equally often; half of the images get a random order
    of their channels. The values of SSD, with which distribution-balanced loss trains on VOC-LT and COCO-LT.

    Liu et al., 2016, arXiv 1512.02325; Wu et al., 2020, arXiv 2007.09654.
    """

    def __init__(
        self,
        brightness: float = 32,
        contrast: Sequence[float] = (0.5, 1.5),
        saturation: Sequence[float] = (0.5, 1.5),
        hue: float = 18,
    ):
        super().__init__()
        if not 0 <= brightness <= 255:
            raise ConfigError(f"brightness must be from 0 to 255 levels, got {brightness:g}")
        for name, ends in {"contrast": contrast, "saturation": saturation}.items():
            if not (len(ends) == 2 and 0 <= ends[0] <= ends[1]):
                raise ConfigError(f"{name} must be two rising factors of 0 or more, such as [0.5,1.5], got {list(ends)}")
        if not 0 <= hue <= 180:
            raise ConfigError(f"hue must be from 0 to 180 degrees, got {hue:g}")
        self.brightness, self.hue = float(brightness), hue / 360
        self.contrast, self.saturation = (contrast[0], contrast[1]), (saturation[0], saturation[1])

    def forward(self, batch: Batch) -> Batch:
        changed = distorted(batch.inputs.float(), self.draw(len(batch.inputs), batch.inputs.device))
        return batch.replace(inputs=changed.round().to(torch.uint8))

    def draw(self, number: int, device: torch.device) -> Distortion:
        """Returns the changes of so many images."""
        given = (torch.rand(6, number, device=device) < 0.5).unbind()

        def drawn(which: int, ends: tuple[float, float], neutral: float) -> Tensor:
            value = torch.empty(number, device=device).uniform_(*ends)
            return torch.where(given[which], value, torch.full_like(value, neutral))

        order = torch.rand(number, 3, device=device).argsort(1)
        return Distortion(
            brightness=drawn(0, (-self.brightness, self.brightness), 0),
            contrast=drawn(1, self.contrast, 1),
            early=given[2],
            saturation=drawn(3, self.saturation, 1),
            hue=drawn(4, (-self.hue, self.hue), 0),
            order=torch.where(given[5][:, None], order, torch.arange(3, device=device)),
        )
