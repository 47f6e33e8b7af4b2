"""Tables of augmentation operations: the value of each operation at each level from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ltrun.augmentation.operations import INDEX, in_pixels

Value = Callable[[Tensor], Tensor]  # levels -> values in the operation's own unit, of a translation maybe a share of the side
ENHANCEMENTS = ("color", "contrast", "brightness", "sharpness")
MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def linear(low: float, high: float) -> Value:
    return lambda level: low + (high - low) * level


def whole(low: float, high: float) -> Value:
    """Cut to a whole number."""
    return lambda level: (low + (high - low) * level).trunc()


@dataclass(frozen=True)
class Table:
    """values: operation -> its value. signed: operations whose value is negated half of the time, for an enhancement its
    distance from 1. shares: whether translations are shares of the side, cut to whole pixels, instead of pixels.
    """

    values: Mapping[str, Value]
    signed: frozenset[str]
    shares: bool

    def draw(self, level: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Draws an operation, and its sign, for each entry of `level` (..., B), from 0 to 1. shape: (B, channels, H, W).

        Returns operations and values as `apply` takes them.
        """
        drawn = torch.randint(len(self.values), level.shape, device=level.device)
        sign = 1 - 2 * torch.randint(2, level.shape, device=level.device).double()
        return self.at(drawn, level, sign, shape)

    def at(self, drawn: Tensor, level: Tensor, sign: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Returns operations and values. drawn: (..., B) number of the operation in this table. sign: 1 or -1."""
        operation, value = torch.zeros_like(drawn), torch.zeros_like(level, dtype=torch.float64)
        for number, (name, of_level) in enumerate(self.values.items()):
            found = of_level(level.double())
            if name in self.signed:
                found = 1 + sign * (found - 1) if name in ENHANCEMENTS else sign * found
            chosen = drawn == number
            operation, value = operation + chosen * INDEX[name], torch.where(chosen, found, value)
        return operation, in_pixels(operation, value, shape, whole=True) if self.shares else value


def _nothing(level: Tensor) -> Tensor:
    return torch.zeros_like(level)


def torchvision(
    shear: float, shift: float, degrees: float, change: float, bits: tuple[int, int], identity: bool, pixels: bool = False
) -> Table:
    """torchvision's table, whose largest values differ between its augmentations.

    shift: of a translation, as a share of the side, or in pixels. bits: kept at level 0 and 1. identity: whether doing nothing
    is one of the operations.
    """
    values: dict[str, Value] = {"identity": _nothing} if identity else {}
    values |= {"shear_x": linear(0, shear), "shear_y": linear(0, shear)}
    values |= {name: (whole if pixels else linear)(0, shift) for name in ("translate_x", "translate_y")}
    values |= {"rotate": linear(0, degrees)} | dict.fromkeys(ENHANCEMENTS, linear(1, 1 + change))
    values["posterize"] = lambda level: bits[0] - ((bits[0] - bits[1]) * level).round()
    values |= {"solarize": lambda level: (255 - 255 * level).round(decimals=6), "autocontrast": _nothing, "equalize": _nothing}
    return Table(values, frozenset((*MOVES, *ENHANCEMENTS)), shares=not pixels)


TIMM = Table(
    {
        "autocontrast": _nothing, "equalize": _nothing, "invert": _nothing, "rotate": linear(0, 30), "posterize": whole(0, 4),
        "solarize": whole(0, 256), "solarize_add": whole(0, 110), **dict.fromkeys(ENHANCEMENTS, linear(0.1, 1.9)),
        "shear_x": linear(0, 0.3), "shear_y": linear(0, 0.3), "translate_x": linear(0, 0.45), "translate_y": linear(0, 0.45),
    },
    frozenset(MOVES),
    shares=True,
)  # fmt: skip
LONG_TAILED = Table(
    {
        "autocontrast": _nothing, "equalize": _nothing, "invert": _nothing, "rotate": linear(0, 30),
        "posterize": lambda level: (4 * level).clamp(min=1), "solarize": linear(0, 256), "add_solarize": linear(0, 110),
        **dict.fromkeys(ENHANCEMENTS, linear(0.1, 1.9)), "shear_x": linear(0, 0.3), "shear_y": linear(0, 0.3),
        "cut": linear(0, 40), "translate_x": linear(0, 100), "translate_y": linear(0, 100),
    },
    frozenset(MOVES),
    shares=False,
)  # fmt: skip
RAND = torchvision(shear=0.3, shift=150 / 331, degrees=30, change=0.9, bits=(8, 4), identity=True)
TRIVIAL = torchvision(shear=0.99, shift=32, degrees=135, change=0.99, bits=(8, 2), identity=True, pixels=True)
AUGMIX = torchvision(shear=0.3, shift=1 / 3, degrees=30, change=0.9, bits=(4, 0), identity=False)
