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

    Returns a boolean scalar, or None for an output without numbers.
    """
    most = largest(output)
    return None if most is None else most < torch.inf


def largest(output: object) -> Tensor | None:
    """The largest number of a part's output, a tensor or streams: nan if there is one, else infinity if there is one.
    Complex numbers count by their moduli.

    Returns a scalar, without gradient, or None for an output without numbers. Takes one kernel for a tensor.
    """
    if isinstance(output, tuple):  # of a feature mixer: streams and losses
        output = output[0]
    if isinstance(output, Mapping):
        output = [batch.inputs for batch in output.values() if isinstance(batch, Batch)]
    tensors = output if isinstance(output, list) else [output]
    numbers = [tensor.detach() for tensor in tensors if isinstance(tensor, Tensor) and tensor.numel()]
    found = [(tensor.abs() if tensor.is_complex() else tensor).amax() for tensor in numbers]
    return torch.stack(found).amax() if len(found) > 1 else found[0] if found else None
