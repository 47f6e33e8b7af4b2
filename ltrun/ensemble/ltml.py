"""LTML: two branches on uniform and re-balanced samples of images with several labels, which agree on each image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Term, Weigh
from ltrun.types import ClassStats, MultiHot, Outputs, Streams


def compensated(logits: Tensor, hot: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
    """(B, C): logits * scale + shift, with the numbers of the class for labels of a row, and others for all else.

    hot: (B, C), 0 or 1. scales, shifts: (2, C), of labels and of all else.
    """
    return torch.where(hot > 0, logits * scales[0] + shifts[0], logits * scales[1] + shifts[1])


class LTML(Term):
    """Collaborative training: L(u, y) + L(r, y') + consistency * (mean (u - u')^2 + mean (r - r')^2).

    u and u' are the logits of the two branches, experts 1 and 2, for images of stream `main`, whose loss the first branch
    learns; r and r' those of the second and the first branch for images of stream `rebalanced`. L is the run's classification
    loss, binary cross-entropy, of compensated logits: z * scale + shift, learnt for each class, with other numbers for labels
    than for all else; they begin as 1 and 0. The plain logits of both branches, averaged, predict.

    The authors published no code. Loss, branches and prediction are those of their equations and figure, as a reproduction
    shows them (github.com/CENG502-Projects/CENG502-Spring2022, Project_Gulmez-Koc). The squared difference, through which both
    branches learn, and its weight of 0.1 are the reproduction's; that both branches share the scales and shifts is our reading.

    Guo and Wang, 2021, Long-tailed multi-label visual recognition by collaborative training on uniform and re-balanced
    samplings, CVPR 2021.
    """

    accepts = frozenset({MULTI_LABEL})
    balances = True
    streams = ("main", "rebalanced")
    reads = frozenset({"experts"})
    mixed = False

    def __init__(self, consistency: float = 0.1, *, classify: Classification, stats: ClassStats):
        super().__init__()
        if consistency < 0:
            raise ConfigError(f"consistency must not be negative, got {consistency}")
        self.consistency, self.classify = consistency, classify
        self.scales = nn.Parameter(torch.ones(2, stats.num_classes))
        self.shifts = nn.Parameter(torch.zeros(2, stats.num_classes))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        total = torch.zeros((), device=self.scales.device)
        for branch, name in enumerate(self.streams):
            output, targets = outputs[name], streams[name].targets
            assert isinstance(targets, MultiHot)
            experts = output.need("experts")
            logits = compensated(experts[branch], targets.hot, self.scales, self.shifts)
            agreement = (experts[branch] - experts[1 - branch]).square().mean()
            total = total + self.classify.loss(logits, targets, output) + self.consistency * agreement
        return total


class LabelShareWeights(Weigh):
    """exp(1 - p_c) for a label of a row and exp(p_c) for all else, with p_c the share of the training images that have class c.

    Li et al., 2015 (DeepMAR), ACPR 2015; LTML has a weight for each class and label, and its authors used this one in earlier
    work (Guo et al., 2019, CVPR 2019). Which one LTML has is from memory.
    """

    accepts = frozenset({MULTI_LABEL})
    balances = True
    share: Tensor

    def __init__(self, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("share", stats.prior)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return labels * (1 - self.share).exp() + (1 - labels) * self.share.exp()
