"""Random erasing: a rectangle of noise at a random place of some images."""

from __future__ import annotations

import torch

from ltrun.augmentation.geometry import draw_boxes
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch


class RandomErasing(Augment):
    """Fills a rectangle of an image with random bytes, or with the grey level `fill`, with a probability.

    The rectangle has `smallest` to `largest` of the area and an aspect ratio from `narrowest` to its inverse, drawn as by
    torchvision, which fills with zeros after normalisation unless told otherwise. Noise is the paper's own choice.

    Zhong et al., 2017, arXiv 1708.04896.
    """

    def __init__(
        self,
        probability: float = 0.5,
        smallest: float = 0.02,
        largest: float = 0.33,
        narrowest: float = 0.3,
        fill: int | None = None,
    ):
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        if not 0 < smallest <= largest < 1:
            raise ConfigError(
                f"smallest and largest must be shares of the area, 0 < smallest <= largest < 1, got {smallest} and {largest}"
            )
        if not 0 < narrowest <= 1:
            raise ConfigError(f"narrowest must be an aspect ratio, above 0 and at most 1, got {narrowest}")
        if fill is not None and not 0 <= fill <= 255:
            raise ConfigError(f"fill must be null or lie between 0 and 255, got {fill}")
        self.probability, self.area, self.fill = probability, (smallest, largest), fill
        self.aspect = (narrowest, 1 / narrowest)

    def forward(self, batch: Batch) -> Batch:
        images, number, device = batch.inputs, len(batch), batch.inputs.device
        height, width = images.shape[-2:]
        box = draw_boxes(number, height, width, self.area[0], device, self.area[1], self.aspect)
        top, left, box_height, box_width = (side[:, None] for side in box)
        whole = (box_height == height) & (box_width == width)  # no draw fitted
        on = (torch.rand(number, 1, device=device) < self.probability) & ~whole
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        rows_in = (rows >= top) & (rows < top + box_height) & on
        columns_in = (columns >= left) & (columns < left + box_width)
        hole = (rows_in[:, :, None] & columns_in[:, None, :])[:, None]
        if self.fill is not None:
            return batch.replace(inputs=images.masked_fill(hole, self.fill))
        return batch.replace(inputs=torch.where(hole, torch.randint_like(images, 256), images))
