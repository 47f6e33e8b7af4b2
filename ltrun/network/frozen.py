"""Modules that no optimizer trains: copies, as of a momentum twin, and layers that keep their pre-trained weights."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_buffers(module: M) -> M:
    """Returns a copy whose parameters are buffers of the same names and values: checkpoints carry them, and no optimizer
    trains them."""
    copy = deepcopy(module)
    freeze(copy)
    return copy


def freeze(module: nn.Module) -> None:
    """Makes the parameters of a module buffers of the same names and values."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())


class HeldNorm(nn.BatchNorm2d):
    """Batch normalisation by its own statistics, in training too, which leaves them as they are."""

    def train(self, mode: bool = True) -> HeldNorm:
        super().train(False)
        return self


def hold_statistics(module: nn.Module) -> None:
    """Has the batch normalisations of maps in a module keep their statistics for good. Names and states stay."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.__class__ = HeldNorm
            part.train(False)
