"""ISDA: implicit semantic data augmentation, the loss of infinitely many features shifted along their class's covariance."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.augmentation.moments import Covariance, RunningMoments, spread_of_logits
from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Adjust
from ltrun.types import Outputs, Streams, View


def isda_logits(logits: Tensor, labels: Tensor, head: Tensor, covariances: Tensor, ratio: Tensor | float) -> Tensor:
    """(B, C): z_j + ratio / 2 * (w_j - w_y)^T S_y (w_j - w_y) for a row of class y.

    Their cross-entropy is an upper bound of the expected one for features drawn from N(feature, ratio * S_y), by Jensen's
    inequality and the moments of a log-normal variable. Gradients flow through the class weights too. head: (C, D).
    covariances: (C, D, D), or (C, D) diagonals.
    """
    return logits + ratio / 2 * spread_of_logits(head, labels, covariances)


class ISDA(Adjust):
    """Implicit semantic data augmentation: trains as on features that move along the directions in which their class varies.

    The directions are the covariances of all features seen in training, current batch included; they are never reset and get no
    gradient. The forward pass adds the batch without storing it; `after_step` stores it, each label by its share of the row.
    The strength grows with the epoch: strength * epoch / epochs, so that the first epoch is plain and early estimates count
    little. The logits' shift holds for a linear head only. covariance: see RunningMoments; the authors keep diagonals on
    ImageNet.

    Wang et al., 2019, arXiv 1909.12220.
    """

    reads = frozenset({"logits", "features", "head", "products"})
    acts_from = 1
    ratio: Tensor

    def __init__(self, strength: float = 0.5, covariance: Covariance | None = None, *, num_classes: int, features: int):
        super().__init__()
        if strength < 0:
            raise ConfigError(f"strength must not be negative, got {strength}")
        self.strength = strength
        self.moments = RunningMoments(num_classes, features, covariance)
        self.register_buffer("ratio", torch.zeros(()))

    def adapt(self, view: View) -> None:
        self.ratio.fill_(self.strength * view.clock.progress)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        covariances = self.moments.with_batch(outputs, labels).covariances
        return isda_logits(widened(logits), labels, widened(outputs.need("head")), covariances, self.ratio)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        self.moments.store(self.moments.with_step(outputs["main"], streams))
