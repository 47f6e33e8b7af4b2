"""Batch normalisation and ReLU as one operation, with or without the addition of a shortcut between them.

torch runs a kernel for each of the three and, backwards, three more. `use` makes the same arithmetic two Triton kernels
forward and two backward, which read and write a third fewer bytes. Roundings differ: values between the three are not rounded.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

LARGEST = 2**31  # values of maps whose places the kernels can count


def use(network: nn.Module) -> None:
    """Makes `norm_relu` one operation for each batch normalisation of a network, in training, on CUDA. Names of parameters and
    buffers stay. Maps of other types than float32 and bfloat16, evaluation and compiled steps keep torch's operations."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = NormReLU


def norm_relu(norm: nn.Module, maps: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """Returns relu(norm(maps)), or relu(norm(maps) + shortcut). All are (B, C, H, W); norm may be any module."""
    if isinstance(norm, NormReLU) and norm.fits(maps, shortcut):
        return norm.fused(maps, shortcut)
    # In place: autograd does not need the overwritten values, and on a CPU the step is bound by memory traffic.
    maps = norm(maps)
    return F.relu(maps if shortcut is None else maps.add_(shortcut), inplace=True)


class NormReLU(nn.BatchNorm2d):
    """A batch normalisation that `norm_relu` fuses with the ReLU after it; called by itself, it is torch's."""

    def fits(self, maps: Tensor, shortcut: Tensor | None) -> bool:
        """Returns whether the kernels can do it."""
        alike = shortcut is None or (type(shortcut) is Tensor and (shortcut.dtype, shortcut.shape) == (maps.dtype, maps.shape))
        return (
            self.training
            and self.momentum is not None
            and self.weight is not None
            and self.running_mean is not None
            and not torch.compiler.is_compiling()  # inductor fuses by itself
            and type(maps) is Tensor
            and (maps.is_cuda or os.environ.get("TRITON_INTERPRET") == "1")
            and maps.dtype in (torch.float32, torch.bfloat16)
            and self.weight.dtype == torch.float32
            and maps.shape[1] < maps.numel() < LARGEST  # torch refuses a single value per channel
            and alike
        )

    def fused(self, maps: Tensor, shortcut: Tensor | None) -> Tensor:
        """Returns relu(norm(maps) + shortcut), and updates the running statistics as torch does."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        running = (self.running_mean, self.running_var)
        return _NormReLU.apply(maps, self.weight, self.bias, shortcut, running, self.momentum, self.eps)


class _NormReLU(Function):
    """maps, weight, bias, shortcut -> relu(norm(maps) + shortcut). Its gradient has torch's own derivative."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        running: tuple[Tensor, Tensor],
        momentum: float,
        eps: float,
    ) -> Tensor:
        from ltrun.kernels import norm_relu_triton

        out, saved = norm_relu_triton.forward(maps, weight, bias, shortcut, running, momentum, eps)
        ctx.save_for_backward(maps, weight, out, saved)
        ctx.eps, ctx.adds = eps, shortcut is not None
        return out

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        from ltrun.kernels import norm_relu_triton

        maps, weight, out, saved = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated: a bilevel update
            passed = slope.masked_fill(out <= 0, 0)
            mean, scale = saved
            inner = torch.ops.aten.native_batch_norm_backward(
                passed, maps, weight, None, None, mean, scale, True, ctx.eps, [True, True, True]
            )
        else:
            passed, *inner = norm_relu_triton.backward(slope, maps, weight, out, saved, ctx.adds)
        return *inner, passed if ctx.adds else None, None, None, None
