"""Gaussian clouded logits: noise on the logits, more for a rarer class."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, as_rarest

DEVIATION = 1 / 3  # standard deviation of the noise, which is clamped at three deviations


def cloud_sizes(counts: Tensor) -> Tensor:
    """(C,) float64: from 0 for the largest class to 1 for the rarest, linear in log n_c; all 0 if all counts are equal.

    A class without images counts as the rarest.
    """
    logs = as_rarest(counts).double().log()
    spread = logs.max() - logs.min()
    return (logs.max() - logs) / spread.where(spread > 0, torch.ones_like(spread))


def gcl_logits(
    cosines: Tensor, labels: Tensor, noise: Tensor, sizes: Tensor, amplitude: float, margin: float, scale: float
) -> Tensor:
    """(B, C): scale * (cosines - amplitude * |noise| * sizes), the label's minus scale * margin. noise: (B, C)."""
    is_label = labels[:, None] == torch.arange(cosines.shape[1], device=labels.device)
    clouded = cosines - amplitude * noise.abs() * sizes
    return scale * torch.where(is_label, clouded - margin, clouded)


class GCL(Adjust):
    """Gaussian clouded logits: subtracts |noise| from every cosine, none from the largest class's, most from the rarest's.

    The noise is drawn anew for each row and class, with standard deviation 1/3, clamped to 1, times `amplitude` for the rarest
    class. It keeps the softmax of rare classes from saturating, so that their gradients do not vanish. The defaults are those
    of the authors' CIFAR script for the whole network; their second stage is decoupling=gcl. The head's plain logits predict.

    Li et al., 2022, arXiv 2305.11733.
    """

    reads = frozenset({"logits", "cosines"})
    sizes: Tensor

    def __init__(self, amplitude: float = 0.5, margin: float = 0.0, scale: float = 30.0, *, stats: ClassStats):
        super().__init__()
        for name, value in (("amplitude", amplitude), ("margin", margin)):
            if value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        self.amplitude, self.margin, self.scale = amplitude, margin, scale
        self.register_buffer("sizes", cloud_sizes(stats.counts).float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        cosines = logits.to(self.sizes.dtype) / outputs.scale
        noise = (DEVIATION * torch.randn_like(cosines)).clamp(-1, 1)
        return gcl_logits(cosines, labels, noise, self.sizes, self.amplitude, self.margin, self.scale)
