"""AutoAugment: the CIFAR-10 policy, applied to all images of a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.colour import blend, greyscale, select
from ltrun.augmentation.geometry import affine, rotation
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
FURTHER = {"shear_x", "solarize_add"}  # operations of RandAugment alone
OPERATIONS = ("identity", *sorted(FURTHER | {operation for pair in POLICY for operation, _, _ in pair}))


def apply(images: Tensor, operation: Tensor, strength: Tensor, fill: int) -> Tensor:
    """Applies one operation to each image. images: (B, channels, H, W) uint8. operation: (B,) index into OPERATIONS.

    strength: (B,) from -1 to 1; the sign matters only to geometry and enhancement. An operation moves pixels, blends with a
    reference image or maps the 256 levels by a curve. Each of the three kinds runs once on the whole batch and leaves images
    with an operation of another kind unchanged.
    """
    chosen = {name: operation == index for index, name in enumerate(OPERATIONS)}
    images = _move(images, chosen, strength, fill)
    images = _enhance(images, chosen, strength)
    return _curve(images, chosen, strength.abs())


def _move(images: Tensor, chosen: dict[str, Tensor], strength: Tensor, fill: int) -> Tensor:
    height, width = images.shape[-2:]
    matrix = rotation(30 * strength * chosen["rotate"])
    slope_x, slope_y = (0.3 * strength * chosen[name] for name in ("shear_x", "shear_y"))
    offset_x = (150 / 331 * width * strength).trunc() * chosen["translate_x"]
    offset_y = (150 / 331 * height * strength).trunc() * chosen["translate_y"]
    zero = torch.zeros_like(slope_y)
    # A shear leaves the image's left or upper edge in place, which lies half a side from the centre.
    moved_x, moved_y = slope_x * height / 2 - offset_x, slope_y * width / 2 - offset_y
    added = torch.stack([zero, slope_x, moved_x, slope_y, zero, moved_y], dim=1)
    return affine(images, matrix + added.view(-1, 2, 3), fill)


def _enhance(images: Tensor, chosen: dict[str, Tensor], strength: Tensor) -> Tensor:
    pixels = images.float()
    grey = greyscale(pixels).floor()
    reference = grey * chosen["color"][:, None, None, None]  # brightness blends with black
    reference = select(chosen["contrast"], grey.mean((1, 2, 3), keepdim=True).expand_as(grey), reference)
    reference = select(chosen["sharpness"], _smooth(pixels), reference.expand_as(pixels))
    enhanced = chosen["color"] | chosen["contrast"] | chosen["sharpness"] | chosen["brightness"]
    blended = blend(pixels, reference, 1 + 0.9 * strength * enhanced)
    return blended.add_(1e-3).to(torch.uint8)  # truncates to whole levels; the 1e-3 takes 76.99999 to 77


def _smooth(pixels: Tensor) -> Tensor:
    """Averages 3x3 pixels, the middle one with weight 5; the outermost pixels keep their values."""
    beside = pixels[..., :-2] + pixels[..., 1:-1] + pixels[..., 2:]
    around = beside[:, :, :-2] + beside[:, :, 1:-1] + beside[:, :, 2:]
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = around.add_(pixels[:, :, 1:-1, 1:-1], alpha=4).div_(13).round_()
    return smooth


def _curve(images: Tensor, chosen: dict[str, Tensor], strength: Tensor) -> Tensor:
    pixels = images.flatten(2).long()
    level = torch.arange(256, device=images.device)
    strength, chosen = strength[:, None, None], {name: mask[:, None, None] for name, mask in chosen.items()}
    curve = torch.where(chosen["invert"] | chosen["solarize"] & (level >= 255 * (1 - strength)), 255 - level, level)
    added = (level + (110 * strength).floor().long()).clamp(max=255)
    curve = torch.where(chosen["solarize_add"] & (level < 128), added, curve)
    curve = torch.where(chosen["posterize"], level & -(2 ** (4 * strength).round().long()), curve)
    curve = torch.where(chosen["autocontrast"], _stretch(pixels, level), curve)
    curve = torch.where(chosen["equalize"], _equalize(pixels, level), curve)
    return curve.to(torch.uint8).expand(*pixels.shape[:2], -1).gather(2, pixels).view_as(images)


def _stretch(pixels: Tensor, level: Tensor) -> Tensor:
    """(B, channels, 256): curve from each channel's darkest pixel to 0 and its lightest to 255; a flat channel is unchanged."""
    low, high = pixels.amin(dim=2, keepdim=True), pixels.amax(dim=2, keepdim=True)
    stretched = ((level - low) * (255 / (high - low).clamp(min=1))).clamp(0, 255).long()
    return torch.where(high > low, stretched, level)


def _equalize(pixels: Tensor, level: Tensor) -> Tensor:
    """(B, channels, 256): curve that makes each channel's histogram about flat."""
    counts = torch.zeros(*pixels.shape[:2], 256, dtype=torch.long, device=pixels.device)
    counts.scatter_add_(2, pixels, torch.ones_like(level[:1]).expand_as(pixels))
    highest = counts.gather(2, pixels.amax(dim=2, keepdim=True))
    step = (pixels.shape[2] - highest) // 255
    below = counts.cumsum(2) - counts
    return torch.where(step > 0, ((below + step // 2) // step.clamp(min=1)).clamp(max=255), level)


class AutoAugment(Augment):
    """Applies one of 25 sub-policies to each image: two operations, each with its own probability and a random sign.

    CIFAR-10's policy (Cubuk et al., 2018, arXiv 1805.09501), operation by operation as in torchvision. Pixels from
    outside the image are grey (`fill`, 0 to 255), as in the long-tailed recipes; their file (PaCo's autoaug.py) also shears
    with bicubic interpolation, rotates in one direction only and solarizes from 256 down, not from 255. Translations are
    truncated to whole pixels, as in torchvision: the longest, 150 / 331 of the side, is 14 of 32 pixels, not 14.5, and 3 of 8.
    Images of one channel have no colour, so `color` leaves them unchanged.
    """

    operation: Tensor
    probability: Tensor
    strength: Tensor

    def __init__(self, fill: int = 128):
        super().__init__()
        if not 0 <= fill <= 255:
            raise ConfigError(f"fill must lie between 0 and 255, got {fill}")
        self.fill = fill
        operation, probability, ninths = zip(*(step for pair in POLICY for step in pair), strict=True)
        index = torch.tensor([OPERATIONS.index(name) for name in operation])
        self.register_buffer("operation", index.view(-1, 2), persistent=False)
        self.register_buffer("probability", torch.tensor(probability).view(-1, 2), persistent=False)
        self.register_buffer("strength", torch.tensor(ninths).view(-1, 2) / 9, persistent=False)

    def forward(self, batch: Batch) -> Batch:
        images, size, device = batch.inputs, len(batch), batch.inputs.device
        policy = torch.randint(len(POLICY), (size,), device=device)
        sign = 2 * torch.randint(2, (size, 2), device=device) - 1
        on = torch.rand(size, 2, device=device) < self.probability[policy]
        operation = self.operation[policy] * on  # 0 is the identity
        strength = self.strength[policy] * sign
        for step in range(2):
            images = apply(images, operation[:, step], strength[:, step], self.fill)
        return batch.replace(inputs=images)
