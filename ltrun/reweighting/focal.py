"""Focal loss: weights that fall with the probability of the right answer."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Weigh
from ltrun.reweighting.sigmoid import binary_cross_entropies, focal_factors
from ltrun.types import Outputs


def focal_weights(logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | float = 1.0) -> Tensor:
    """(B,): w * (1 - p ** w) ** gamma, with p the softmax probability of the label. logits: (B, C). labels, weights: (B,).

    Of several labels per row, (B, C), with p the probability of the right answer of each sigmoid. labels, weights: (B, C).
    """
    if labels.ndim == 2:
        return weights * focal_factors(weights * binary_cross_entropies(logits, labels), gamma)
    log_p = weights * torch.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    # Where p rounds to 1, the slope of x ** gamma is infinite for gamma below 1; the clamp makes it 0 there.
    miss = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return weights * miss**gamma


class Focal(Weigh):
    """Focal loss: multiplies a row's loss by (1 - p) ** gamma, so that well-classified rows count less; divides by B.

    This is the softmax form of LDAM-DRW, RIDE and SADE, whose factor has a gradient; LADE and GCL detach it (`detach`).
    gamma = 1 is LDAM-DRW's value; Lin et al. found 2 best for their sigmoid form, SigmoidFocal. class_weights: weights w from
    another Weigh, which enter the probability too, as in LDAM-DRW: w * (1 - p ** w) ** gamma. balance: a constant factor, 2 in
    the distribution-balanced loss of Wu et al. Of several labels per row, p is the sigmoid's, and each class has its weight.

    Lin et al., 2017, arXiv 1708.02002; Wu et al., 2020, arXiv 2007.09654.
    """

    accepts = BOTH
    mean = "batch"

    def __init__(self, gamma: float = 1.0, detach: bool = False, class_weights: Weigh | None = None, balance: float = 1.0):
        super().__init__()
        if balance <= 0:
            raise ConfigError(f"balance must be above 0, got {balance}")
        if gamma < 0:
            raise ConfigError(f"gamma must not be negative, which would favour easy images, got {gamma}")
        self.gamma, self.detach, self.class_weights, self.balance = gamma, detach, class_weights, balance

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        weights = 1.0 if self.class_weights is None else self.class_weights(logits, labels, outputs)
        return self.balance * focal_weights(logits.detach() if self.detach else logits, labels, self.gamma, weights)
