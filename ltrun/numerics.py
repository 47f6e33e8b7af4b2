"""Conversion of tensors to float32, and tests for finite values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.types import Batch


def widened(tensor: Tensor) -> Tensor:
    """Converts a tensor to float32, unless its type is already wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def in_float32(module: nn.Module, inputs: Tensor) -> Tensor:
    """Returns module(inputs), computed in float32 whatever the precision of the backbone."""
    with torch.autocast(inputs.device.type, enabled=False):
        return cast(Tensor, module(widened(inputs)))


def held(values: Tensor, argument: str, given: float) -> Tensor:
    """Converts values to float32. Raises ConfigError, which names the argument they come from, if one overflows."""
    narrow = values.float()
    if not narrow.isfinite().all():
        raise ConfigError(f"{argument} must be smaller here, or numbers become too large for float32, got {given}")
    return narrow


def finite(output: object) -> Tensor | None:
    """Whether a part's output, a tensor or streams, has no nan and no infinity; minus infinity is allowed: it masks a class.

    Returns a boolean scalar, or None for an output without tensors.
    """
    if isinstance(output, Mapping):
        output = [batch.inputs for batch in output.values() if isinstance(batch, Batch)]
    tensors = output if isinstance(output, list) else [output]
    flags = [(torch.isfinite(t) | (t == -torch.inf)).all() for t in tensors if isinstance(t, Tensor)]
    return torch.stack(flags).all() if flags else None
