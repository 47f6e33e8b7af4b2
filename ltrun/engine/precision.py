"""Numerical precision of a run (`runtime.precision`): fp32, tf32 or bf16."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

from ltrun.errors import ConfigError

Name = Literal["fp32", "tf32", "bf16"]


class Precision:
    """fp32: full single precision, also on GPUs whose libraries would use TF32 by default.

    tf32: factors in convolutions rounded to 10 bits of mantissa, on CUDA, as torch does unless told otherwise. bf16: the
    backbone under autocast. With every precision, weights, classifier heads, projectors and losses stay in float32. Raises
    ConfigError for a precision that the device does not have.
    """

    def __init__(self, name: Name, device: torch.device):
        if name == "tf32" and device.type != "cuda":
            raise ConfigError("runtime.precision: tf32 is a mode of CUDA devices; use fp32 or bf16")
        if name == "bf16" and not has_bf16(device):
            raise ConfigError(f"runtime.precision: this {device.type} device does not compute in bf16; use fp32")
        self.name, self.device = name, device
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, name == "tf32"

    def autocast(self) -> AbstractContextManager[object]:
        """Returns the context of a forward pass through the network.

        It does not cache weights as bf16: a captured step would keep the first ones.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.name == "bf16", cache_enabled=False)


def has_bf16(device: torch.device) -> bool:
    """Returns whether the device computes in bfloat16 itself, rather than emulate it at a fraction of the speed of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
