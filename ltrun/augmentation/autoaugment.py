"""AutoAugment: the CIFAR-10 policy, applied to all images of a batch at once."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ltrun.augmentation.operations import INDEX, apply, in_pixels
from ltrun.errors import ConfigError
from ltrun.parts import Augment
from ltrun.types import Batch

# 25 sub-policies of two operations, each operation with its probability and its strength in ninths.
POLICY = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)
Table = Literal["long_tailed", "torchvision"]
BICUBIC = {"shear_x": "bicubic_shear_x", "shear_y": "bicubic_shear_y"}


def operation_of(name: str, table: Table) -> str:
    """The operation, of OPERATIONS, that a name of the policy stands for."""
    return BICUBIC.get(name, name) if table == "long_tailed" else name


def value_of(name: str, ninths: int, sign: int, table: Table) -> float:
    """The value of an operation, in its own unit; of a translation as a share of the side."""
    level = ninths / 9
    if table == "torchvision" and name in ("rotate", "solarize"):
        return sign * 30 * level if name == "rotate" else 255 - 255 * level
    if name in ("color", "contrast", "brightness", "sharpness"):
        return 1 + sign * 0.9 * level
    signed = {"shear_x": 0.3, "shear_y": 0.3, "translate_x": 150 / 331, "translate_y": 150 / 331}
    if name in signed:
        return sign * signed[name] * level
    return {"rotate": 30 * level, "posterize": round(8 - 4 * level), "solarize": 256 - 256 * level}.get(name, 0.0)


class AutoAugment(Augment):
    """Applies one of 25 sub-policies to each image: two operations, each with its own probability.

    CIFAR-10's policy. Shears, translations and enhancements have a random sign, and pixels from outside the image are grey
    (`fill`, 0 to 255). Images of one channel have no colour, so `color` leaves them unchanged.

    table: 'long_tailed' has the pixels of the file that the long-tailed repositories share (autoaug.py of PaCo, NCL, ProCo,
    CUDA): shears are bicubic, rotations counter-clockwise. 'torchvision': shears take the nearest pixel, rotations have a
    random sign, Solarize inverts from one level less, translations are cut to whole pixels.

    Cubuk et al., 2018, arXiv 1805.09501.
    """

    operation: Tensor
    probability: Tensor
    values: Tensor

    def __init__(self, table: Table, fill: int = 128):
        super().__init__()
        if not 0 <= fill <= 255:
            raise ConfigError(f"fill must lie between 0 and 255, got {fill}")
        self.fill, self.whole = fill, table == "torchvision"
        operation, probability, _ = zip(*(step for pair in POLICY for step in pair), strict=True)
        index = torch.tensor([INDEX[operation_of(name, table)] for name in operation])
        values = [[[value_of(name, ninths, sign, table) for sign in (1, -1)] for name, _, ninths in pair] for pair in POLICY]
        self.register_buffer("operation", index.view(-1, 2), persistent=False)
        self.register_buffer("probability", torch.tensor(probability).view(-1, 2), persistent=False)
        self.register_buffer("values", torch.tensor(values, dtype=torch.float64), persistent=False)

    def forward(self, batch: Batch) -> Batch:
        images, size, device = batch.inputs, len(batch), batch.inputs.device
        policy = torch.randint(len(POLICY), (size,), device=device)
        sign = torch.randint(2, (size, 2), device=device)
        on = torch.rand(size, 2, device=device) < self.probability[policy]
        for step in range(2):
            operation = self.operation[policy, step] * on[:, step]  # 0 is the identity
            value = in_pixels(operation, self.values[policy, step, sign[:, step]], images.shape, self.whole)
            images = apply(images, operation, value, self.fill)
        return batch.replace(inputs=images)
