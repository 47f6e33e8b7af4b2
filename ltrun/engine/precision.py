"""Numerical precision of a run (`runtime.precision`): fp32, tf32, bf16, or fp16 with a scaled loss."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function

from ltrun.errors import ConfigError
from ltrun.parts import Descent

Name = Literal["fp32", "tf32", "bf16", "fp16"]
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST, GROWTH, BACKOFF, PATIENCE = 2.0**16, 2.0, 0.5, 2000  # of the loss scale, as in torch.amp.GradScaler


class Precision:
    """fp32: full single precision, also on GPUs whose libraries would use TF32 by default.

    tf32: factors in convolutions rounded to 10 bits of mantissa, on CUDA, as torch does unless told otherwise. bf16, fp16: the
    backbone under autocast, and with fp16 a scaled loss. With every precision, weights, classifier heads, projectors
    and losses stay in float32. Raises ConfigError for a precision that the device does not have.
    """

    def __init__(self, name: Name, device: torch.device):
        if name == "tf32" and device.type != "cuda":
            raise ConfigError("runtime.precision: tf32 is a mode of CUDA devices; use fp32 or bf16")
        if name == "bf16" and not has_bf16(device):
            raise ConfigError(f"runtime.precision: this {device.type} device does not compute in bf16; use fp32")
        if name == "fp16" and not has_fp16(device):
            raise ConfigError(
                f"runtime.precision: this {device.type} device does not compute in fp16; use fp32, or bf16 on newer devices"
            )
        self.name, self.device = name, device
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, name == "tf32"

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context of a forward pass through the network.

        It does not cache weights in half precision: a captured step would keep the first ones.
        """
        half = HALVES.get(self.name)
        return torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None, cache_enabled=False)

    def scaler(self) -> Scaler | None:
        """Returns a new scaler of the loss, where the precision needs one."""
        return Scaler().to(self.device) if self.name == "fp16" else None


class Scaler(nn.Module):
    """The scale of the loss in fp16, in which small gradients would be 0. Checkpoints hold it, as it is in buffers.

    The value of the loss stays, its gradients are multiplied by `scale`, and the optimizer divides them. A step with gradients
    that are not finite is skipped and halves the scale; 2,000 others in a row double it. The host waits for nothing.

    Micikevicius et al., 2018, arXiv 1710.03740.
    """

    scale: Tensor
    growth: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(FIRST, dtype=torch.float32))
        self.register_buffer("growth", torch.zeros((), dtype=torch.int32))

    def forward(self, total: Tensor) -> Tensor:
        return _Scaled.apply(total, self.scale) if total.requires_grad else total

    def serve(self, optimizer: Descent) -> None:
        """Lets an optimizer divide gradients by the scale. Raises ConfigError if the optimizer cannot."""
        if not hasattr(optimizer, "scaling"):
            raise ConfigError(
                f"runtime.precision: with fp16 the loss is scaled, and {type(optimizer).__name__} has no attribute `scaling` "
                "(Scaling in ltrun/optimizer/base.py); use bf16 or fp32, or an optimizer of ltrun"
            )
        optimizer.scaling = self

    def seen(self, norm: Tensor) -> tuple[Tensor, Tensor]:
        """See `optimizer.base.Scaling`."""
        divisor, skipped = self.scale.clone(), (~norm.isfinite()).float()
        torch._amp_update_scale_(self.scale, self.growth, skipped, GROWTH, BACKOFF, PATIENCE)
        return divisor, skipped


class _Scaled(Function):
    """A loss -> the same loss, with gradients times the scale."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return total.view_as(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return gradient * scale, None


def has_bf16(device: torch.device) -> bool:
    """Returns whether the device computes in bfloat16 itself, rather than emulate it at a fraction of the speed of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def has_fp16(device: torch.device) -> bool:
    """Returns whether the device computes in float16 itself."""
    return device.type == "cuda" or torch.cpu._is_amx_fp16_supported()
