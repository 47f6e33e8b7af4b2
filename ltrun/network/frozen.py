"""Copies of modules that no optimizer trains, as of a momentum twin."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_buffers(module: M) -> M:
    """Returns a copy whose parameters are buffers of the same names and values: checkpoints carry them, and no optimizer
    trains them."""
    copy = deepcopy(module)
    for part in copy.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    return copy
