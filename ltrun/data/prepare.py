"""Preparation of stored inputs for a network: normalisation of pixels, and features as they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Prepare

CACHED = 2**20  # numbers of a batch that may be in a CPU's cache at once


class InFloat32(Prepare):
    """Inputs as they are stored, in float32: features of videos, which need no other preparation."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.float()


class Normalise(Prepare):
    """(x / 255 - mean) / std of each channel: uint8 images (B, channels, H, W) to float32. mean, std: for pixels in 0..1.

    The result is channels-last in memory if `runtime.channels_last` says so: convolutions on vector units are faster.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, in_channels: int, channels_last: bool):
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        if not len(mean) == len(std) == in_channels:
            raise ConfigError(
                f"mean and std must have one value for each of {in_channels} channels, got {list(mean)} and {list(std)}"
            )
        if min(std) <= 0:
            raise ConfigError(f"std must be above 0 in every channel, got {list(std)}")
        means, stds = torch.tensor([mean, std], dtype=torch.float64)[:, :, None, None]
        self.register_buffer("scale", (1 / (255 * stds)).float(), persistent=False)
        self.register_buffer("shift", (-means / stds).float(), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and inputs.device.type == "cpu" and inputs.numel() > CACHED:
            return self._one_by_one(inputs)
        return (inputs * self.scale).add_(self.shift).contiguous(memory_format=self.layout)

    def _one_by_one(self, inputs: Tensor) -> Tensor:
        """Returns the same bits in less than half the time: a batch of photographs does not fit into the caches of a CPU."""
        found = torch.empty(inputs.shape, dtype=self.scale.dtype, memory_format=self.layout)
        for image, place in zip(inputs, found, strict=True):
            place.copy_((image * self.scale).add_(self.shift))
        return found
