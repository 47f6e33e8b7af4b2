"""Convolutions with weight gradients computed beside input gradients, on a CUDA stream of their own.

torch computes the two gradients of a convolution one after the other. Neither needs the other, and the kernels of small maps
leave a part of a GPU idle. `use` forks a second stream for the weight gradient and joins it before the gradients are returned.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

Plan = tuple[Any, ...]  # stride, padding, dilation, groups


def use(network: nn.Module) -> None:
    """Splits the backward pass of each convolution of a network. The kernels are torch's; names of parameters stay."""
    for convolution in convolutions(network):
        convolution.splits = True


def convolutions(network: nn.Module) -> list[Convolution]:
    """Makes each nn.Conv2d of a network a `Convolution`, in place, and returns them; subclasses of others are left alone."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Convolution
    return [module for module in network.modules() if isinstance(module, Convolution)]


class Convolution(nn.Conv2d):
    """torch's convolution, until a lever switches something on.

    splits: whether its two gradients are computed side by side. weight_of: gives the weight to convolve with.
    """

    splits: bool = False
    weight_of: Callable[[Convolution], Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight if self.weight_of is None else self.weight_of(self)
        if not self._can_split(input, weight):
            return self._conv_forward(input, weight, self.bias)
        kind = input.device.type
        if torch.is_autocast_enabled(kind) and torch.float64 not in (input.dtype, weight.dtype):  # as autocast does
            narrow = torch.get_autocast_dtype(kind)
            input, weight = input.to(narrow), weight.to(narrow)
        return _Split.apply(input, weight, (self.stride, self.padding, self.dilation, self.groups))

    def _can_split(self, input: Tensor, weight: Tensor) -> bool:
        """Returns whether there are two gradients, and nothing but a convolution."""
        return (
            self.splits
            and torch.is_grad_enabled()
            and input.requires_grad
            and weight.requires_grad
            and self.bias is None
            and self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
            and input.dim() == 4
            and not torch.compiler.is_compiling()  # inductor orders kernels by itself
        )


class _Split(Function):
    """inputs, weight -> convolution, whose two gradients are computed side by side."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, plan: Plan) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.plan = plan
        stride, padding, dilation, groups = plan
        return F.conv2d(inputs, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        inputs, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradients will be differentiated: torch's own operation, on one stream
            return *_gradients(slope, inputs, weight, ctx.plan, True, True)[:2], None
        if not slope.is_cuda:
            of_weight = _gradients(slope, inputs, weight, ctx.plan, False, True)[1]
            return _gradients(slope, inputs, weight, ctx.plan, True, False)[0], of_weight, None
        # No memory is given away too early. What the side stream reads is held by this frame until the join. The weight's
        # gradient lies in memory of the side stream, which is only used again after a later fork, and a fork waits for all
        # that the main stream has queued to read it.
        main = torch.cuda.current_stream(slope.device)
        side = _beside(main.cuda_stream, slope.device)
        side.wait_stream(main)
        with torch.cuda.stream(side):
            of_weight = _gradients(slope, inputs, weight, ctx.plan, False, True)[1]
        of_inputs = _gradients(slope, inputs, weight, ctx.plan, True, False)[0]
        main.wait_stream(side)
        return of_inputs, of_weight, None


@cache
def _beside(stream: int, device: torch.device) -> torch.cuda.Stream:
    """The side stream of a stream, given as its address; the streams of runs in one process have one each.

    It is made in an eager step, before any capture.
    """
    return torch.cuda.Stream(device)


def _gradients(slope: Tensor, inputs: Tensor, weight: Tensor, plan: Plan, of_inputs: bool, of_weight: bool) -> Any:
    stride, padding, dilation, groups = plan
    return torch.ops.aten.convolution_backward(
        slope, inputs, weight, None, stride, padding, dilation, False, (0, 0), groups, (of_inputs, of_weight, False)
    )
