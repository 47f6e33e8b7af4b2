"""UniMix: mixup whose partners and factors follow the class counts."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.augmentation.mixup import beta_of, draw_share, mixup
from ltrun.numerics import held
from ltrun.parts import Mixer
from ltrun.types import Batch, ClassStats, Streams, as_rarest


def partner_weights(counts: Tensor, tau: float) -> Tensor:
    """(C,) float64, proportional to counts ** tau, the largest 1: the weight of each image of a class as a partner."""
    powers = tau * as_rarest(counts).double().log()
    return (powers - powers.max()).exp()


def mixing_factor(draw: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """(B,) share of a row's own image: draw + n_j / (n_i + n_j), minus 1 where that is above 1.

    draw: (B,) from 0 to 1. own, other: (B,) images of the classes of the two rows.
    """
    factor = draw + other.to(draw.dtype) / (own + other)
    return torch.where(factor > 1, factor - 1, factor)


class UniMix(Mixer):
    """UniMix: mixes each image with a partner drawn in favour of rare classes, in a share that favours the rarer one.

    Partners are drawn from the batch with replacement, an image of class c with weight n_c ** tau. The share of a row's own
    image and label is u + n_j / (n_i + n_j) modulo 1 with u ~ Beta(alpha, alpha), drawn for each row. The authors' values for
    CIFAR are alpha = 0.8 and tau = -0.1, in batches of 64. Equal counts give mixup with u shifted by 1/2, not mixup itself,
    unless alpha is 1. Rows that an earlier mixer mixed count as their first label.

    Xu et al., 2021, arXiv 2111.03874.
    """

    alpha: Tensor
    counts: Tensor
    weights: Tensor

    def __init__(self, alpha: float = 0.8, tau: float = -0.1, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("alpha", beta_of(alpha), persistent=False)
        self.register_buffer("counts", stats.counts.clone(), persistent=False)
        self.register_buffer("weights", held(partner_weights(stats.counts, tau), "tau", tau), persistent=False)

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main = streams["main"]
        labels, rows = main.targets.labels, len(main)
        waits = torch.empty(rows, rows, device=labels.device).exponential_()  # the first of B clocks of these rates rings
        partner = (waits / self.weights[labels].clamp(min=torch.finfo(torch.float32).tiny)).argmin(1)
        own = self.counts[labels]
        keep = mixing_factor(draw_share(self.alpha, rows), own, own[partner])
        return {**streams, "main": mixup(main, partner, keep)}
