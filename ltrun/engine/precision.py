"""The arithmetic of a run: `runtime.precision` and `runtime.channels_last`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

from ltrun.errors import ConfigError

Name = Literal["fp32", "tf32", "bf16"]


class Precision:
    """fp32: full single precision, also on GPUs whose libraries would round products to 10 bits of mantissa by themselves.

    tf32: those rounded products, on CUDA. bf16: the backbone under autocast; weights, classifier heads, projectors and losses
    stay in float32. Raises ConfigError where the device does not have it.
    """

    def __init__(self, name: Name, device: torch.device):
        if name == "tf32" and device.type != "cuda":
            raise ConfigError("runtime.precision: tf32 is a mode of CUDA devices; use fp32 or bf16")
        if name == "bf16" and not has_bf16(device):
            raise ConfigError(f"runtime.precision: this {device.type} device does not compute in bf16; use fp32")
        self.name, self.device = name, device
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"

    def autocast(self) -> AbstractContextManager[object]:
        """Around a pass through the network. Weights are not cached as bf16: a captured step would keep the first ones."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.name == "bf16", cache_enabled=False)


def has_bf16(device: torch.device) -> bool:
    """Whether products are computed in bfloat16, not merely emulated at a fraction of the speed of float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
