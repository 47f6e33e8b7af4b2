"""RandAugment: a few random operations of one magnitude on each image of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.autoaugment import OPERATIONS, apply
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch

CHOICES = (
    "autocontrast", "equalize", "invert", "rotate", "posterize", "solarize", "solarize_add", "color", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
ENHANCEMENTS = ("color", "contrast", "brightness", "sharpness")
LARGEST = 10.0  # of the scale of magnitudes
LONGEST = 0.45 / (150 / 331)  # the longest translation, as a share of AutoAugment's


def strengths(operation: Tensor, level: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """Returns operation and strength, as `apply` takes them. operation: (B,) index into OPERATIONS. level: (B,) from 0 to 1.
    sign: (B,) 1 or -1.

    Rotation, shear and translation grow with the level and have the sign. Enhancement goes from a factor of 0.1 to 1.9.
    Posterize keeps fewer bits at lower levels, and solarize inverts more pixels: at the highest level no pixel, so that it is
    the identity.
    """

    def one_of(*names: str) -> Tensor:
        return torch.stack([operation == OPERATIONS.index(name) for name in names]).any(0)

    bits, threshold = (4 * level).floor(), (256 * level).floor()
    strength = torch.where(one_of("rotate", "shear_x", "shear_y"), sign * level, level)
    strength = torch.where(one_of("translate_x", "translate_y"), sign * level * LONGEST, strength)
    strength = torch.where(one_of(*ENHANCEMENTS), 2 * level - 1, strength)
    strength = torch.where(one_of("posterize"), (8 - bits) / 4, strength)
    strength = torch.where(one_of("solarize"), 1 - threshold / 255, strength)
    nothing = one_of("solarize") & (threshold > 255)
    return torch.where(nothing, OPERATIONS.index("identity"), operation), strength


class RandAugment(Augment):
    """Applies `operations` of 15 operations to each image, drawn with replacement, each with `probability`.

    The magnitude is drawn from a Gaussian round `magnitude` with deviation `spread` for each operation, and cut to 0 to 10.
    The published recipes of long-tailed recognition take timm's `rand-n2-m10-mstd0.5`, whose operations these are. Pixels from
    outside an image are grey (`fill`, 0 to 255), not of the mean colour, and the nearest pixel stands for its bilinear or
    bicubic interpolation. Images of one channel have no colour, so `color` leaves them unchanged.

    Cubuk et al., 2019, arXiv 1909.13719.
    """

    choices: Tensor

    def __init__(
        self,
        operations: int = 2,
        magnitude: float = 10.0,
        spread: float = 0.5,
        probability: float = 0.5,
        fill: int = 116,
    ):
        super().__init__()
        if operations < 1:
            raise ConfigError(f"operations must be at least 1, got {operations}")
        if not 0 <= magnitude <= LARGEST or spread < 0:
            raise ConfigError(f"magnitude must lie between 0 and 10 and spread be at least 0, got {magnitude} and {spread}")
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must lie between 0 and 1, got {probability}")
        if not 0 <= fill <= 255:
            raise ConfigError(f"fill must lie between 0 and 255, got {fill}")
        self.operations, self.magnitude, self.spread = operations, magnitude, spread
        self.probability, self.fill = probability, fill
        self.register_buffer("choices", torch.tensor([OPERATIONS.index(name) for name in CHOICES]), persistent=False)

    def forward(self, batch: Batch) -> Batch:
        images, size, device = batch.inputs, (self.operations, len(batch)), batch.inputs.device
        drawn = self.choices[torch.randint(len(CHOICES), size, device=device)]
        level = (self.magnitude + self.spread * torch.randn(size, device=device)).clamp(0, LARGEST) / LARGEST
        sign = 2.0 * torch.randint(2, size, device=device) - 1
        on = torch.rand(size, device=device) < self.probability
        for each in range(self.operations):
            operation, strength = strengths(drawn[each] * on[each], level[each], sign[each])  # 0 is the identity
            images = apply(images, operation, strength, self.fill)
        return batch.replace(inputs=images)
