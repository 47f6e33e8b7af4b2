"""Weights of convolutions converted to bfloat16 together, by one kernel for all instead of one for each.

Under autocast each convolution converts its weight, and the gradient back. `use` converts all weights at the first convolution
of a forward pass by one foreach copy, and all gradients back by another. The numbers are autocast's, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ltrun.kernels.convolution import Convolution, convolutions


def use(network: nn.Module) -> None:
    """Converts the weights of a network's convolutions together, in each call of the network under autocast.

    Names of parameters stay. Calls of parts of the network, such as `predict`, are left to autocast, as is everything compiled.
    """
    casts = JointCasts(convolutions(network))
    for convolution in casts.convolutions:
        convolution.weight_of = casts.weight_of
    network.register_forward_pre_hook(casts.begin)
    network.register_forward_hook(casts.end, always_call=True)


class JointCasts:
    """The converted weights of one call of a network, each for one use.

    A replayed CUDA graph changes weights unseen, so that nothing may outlive the call. A network that passes two streams uses a
    weight twice: the second use converts anew, because the gradients of the two must be added in float32, as under autocast.
    """

    def __init__(self, convolutions: list[Convolution]):
        self.convolutions = convolutions
        self.ready: dict[Convolution, Tensor] | None = None

    def begin(self, *_: object) -> None:
        self.ready = None if torch.compiler.is_compiling() else {}

    def end(self, *_: object) -> None:
        self.ready = None

    def weight_of(self, convolution: Convolution) -> Tensor:
        """Returns the weight to convolve with: converted where autocast would convert it."""
        kind = convolution.weight.device.type
        if self.ready is None or not torch.is_autocast_enabled(kind) or not _narrows(convolution):
            return convolution.weight
        if convolution not in self.ready:
            due = [other for other in self.convolutions if other not in self.ready and _narrows(other)]
            with torch.enable_grad():  # a momentum twin may come first, without gradient
                narrow = _Casts.apply(torch.get_autocast_dtype(kind), *(other.weight for other in due))
            self.ready |= dict(zip(due, narrow, strict=True))
        return self.ready.pop(convolution)


def _narrows(convolution: Convolution) -> bool:
    return convolution.weight.dtype == torch.float32


class _Casts(Function):
    """Float32 tensors -> the same in another type."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *wide: Tensor) -> tuple[Tensor, ...]:
        narrow = [torch.empty_like(tensor, dtype=dtype) for tensor in wide]
        torch._foreach_copy_(narrow, wide)
        ctx.mark_non_differentiable(*(new for new, old in zip(narrow, wide, strict=True) if not old.requires_grad))
        ctx.set_materialize_grads(False)  # a weight that was not used has no gradient, and its momentum does not move
        return tuple(narrow)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the gradients will be differentiated
            return None, *(None if slope is None else slope.float() for slope in slopes)
        there = [slope for slope in slopes if slope is not None]
        wide = [torch.empty_like(slope, dtype=torch.float32) for slope in there]
        torch._foreach_copy_(wide, there)
        found = iter(wide)
        return None, *(None if slope is None else next(found) for slope in slopes)
