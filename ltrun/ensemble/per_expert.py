"""Numbers of an ensemble's loss, one for each expert."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ltrun.errors import ConfigError


def of_each(
    option: str, name: str, given: Sequence[float] | None, span: tuple[float, float], experts: int, like: Tensor
) -> Tensor:
    """(E,) numbers of an argument, in type and place of `like`. given: None for numbers evenly spaced over a span.

    Raises ConfigError, which names option and argument, for a wrong number of them.
    """
    check_number(option, name, given, experts)
    if given is None:
        return torch.linspace(*span, experts, dtype=like.dtype, device=like.device)
    return torch.stack([torch.full((), value, dtype=like.dtype, device=like.device) for value in given])


def check_number(option: str, name: str, given: Sequence[float] | None, experts: int) -> None:
    """Raises ConfigError, which names option and argument, unless there is a number for each expert, or None."""
    if given is not None and len(given) != experts:
        raise ConfigError(
            f"{option}: {name} has {len(given)} values for {experts} experts; give one for each, or null, or set "
            f"ensemble.network.num_experts={len(given)}"
        )
