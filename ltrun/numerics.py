"""Number types of tensors, and whether their values are finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.types import Batch


def widened(tensor: Tensor) -> Tensor:
    """In float32, unless it is of a wider type already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_float32(module: nn.Module, inputs: Tensor) -> Tensor:
    """module(inputs) in float32, whatever the backbone computed in."""
    with torch.autocast(inputs.device.type, enabled=False):
        return cast(Tensor, module(widened(inputs)))


def held(values: Tensor, argument: str, given: float) -> Tensor:
    """The values in float32. Raises ConfigError, naming the argument that they come from, where float32 cannot hold one."""
    narrow = values.float()
    if not narrow.isfinite().all():
        raise ConfigError(f"{argument} must be smaller here, or numbers become too large for float32, got {given}")
    return narrow


def finite(output: object) -> Tensor | None:
    """Whether a part's output, a tensor or streams, has no nan and no infinity; minus infinity masks a class.

    None for what holds no numbers.
    """
    if isinstance(output, Mapping):
        output = [batch.inputs for batch in output.values() if isinstance(batch, Batch)]
    tensors = output if isinstance(output, list) else [output]
    flags = [(torch.isfinite(t) | (t == -torch.inf)).all() for t in tensors if isinstance(t, Tensor)]
    return torch.stack(flags).all() if flags else None
