"""Label-aware smoothing: smoother labels for larger classes."""

import math
from typing import Literal

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Criterion
from ltrun.types import ClassStats, Outputs

Shape = Literal["concave", "linear", "convex", "power"]


def smoothing_factors(
    counts: Tensor, smooth_head: float, smooth_tail: float, shape: Shape, power: float | None = None
) -> Tensor:
    """(C,) float64: smoothing of each class, from smooth_tail for the smallest to smooth_head for the largest, along `shape`.

    Classes without images count as the smallest class; if all classes have the same size, all get smooth_tail.
    """
    smallest = counts[counts > 0].min()
    size = ((counts - smallest).double() / (counts.max() - smallest).clamp(min=1)).clamp(min=0)
    if shape == "power":
        assert power is not None
        size = size**power
    elif shape != "linear":
        quarter = math.pi / 2
        size = (quarter * size).sin() if shape == "concave" else 1 + (quarter * (size + 3)).sin()
    return smooth_tail + (smooth_head - smooth_tail) * size


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """(B,): (1 - s) * -log p_y + s * mean_c(-log p_c), with s (B,) the smoothing of each row. logits: (B, C)."""
    log_p = torch.log_softmax(logits, dim=1)
    return (smoothing - 1) * log_p.gather(1, labels[:, None])[:, 0] - smoothing * log_p.mean(dim=1)


class LabelAwareSmoothing(Criterion):
    """Label-aware smoothing: smooths labels more in larger classes, where over-confidence is greatest.

    A class's smoothing runs from smooth_tail for the smallest to smooth_head for the largest: concave (a sine, the authors'
    choice), linear, convex, or a `power` of (n_c - n_min) / (n_max - n_min). The mass is spread over all C classes,
    including the true class, as in the authors' code; their formula excludes the true class. MiSLAS uses this loss in its
    second stage, with 0.4 and 0.1 for an imbalance of 100 on CIFAR-100, and 0.3 and 0 for 50.

    Zhong et al., 2021, arXiv 2104.00466.
    """

    smoothing: Tensor

    def __init__(
        self,
        smooth_head: float = 0.4,
        smooth_tail: float = 0.1,
        shape: Shape = "concave",
        power: float | None = None,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        if not 0 <= smooth_tail <= smooth_head < 1:
            raise ConfigError(
                f"smooth_tail must not exceed smooth_head, both from 0 to below 1, got {smooth_tail} and {smooth_head}"
            )
        if (power is not None) != (shape == "power") or (power is not None and power <= 0):
            raise ConfigError(f"power must be above 0 with shape=power and null with other shapes, got {power} with {shape}")
        smoothing = smoothing_factors(stats.counts, smooth_head, smooth_tail, shape, power)
        self.register_buffer("smoothing", smoothing.float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return smoothed_cross_entropy(logits, labels, self.smoothing[labels])
