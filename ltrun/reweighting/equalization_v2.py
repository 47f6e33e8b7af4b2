"""Equalization loss v2 (EQL v2): balances the positive and negative gradients of each class."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Criterion
from ltrun.reweighting.sigmoid import binary_cross_entropies, is_label, starting_logits, towards_truth
from ltrun.types import Outputs, Streams


def equalization_weights(ratio: Tensor, alpha: float, gamma: float, mu: float) -> tuple[Tensor, Tensor]:
    """(C,) and (C,): weights of each class's positive and negative terms, given the ratio of their gradients (C,)."""
    negative = torch.sigmoid(gamma * (ratio - mu))
    return 1 + alpha * (1 - negative), negative


def equalization_v2(logits: Tensor, labels: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """(B,): the sum of binary cross-entropies, weighted by positive (C,) at the label and by negative (C,) elsewhere."""
    weights = torch.where(is_label(labels, logits.shape[1]), positive, negative)
    return -(F.logsigmoid(towards_truth(logits, labels)) * weights).sum(dim=1)


def equalization_v2_of_several(logits: Tensor, labels: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """(B, C): binary cross-entropies of several labels per row, weighted by positive (C,) at labels and by negative (C,)
    elsewhere, in proportion to the label where rows are mixed."""
    return binary_cross_entropies(logits, labels) * (labels * positive + (1 - labels) * negative)


def gradient_sizes(logits: Tensor, labels: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C) and (B, C): absolute weighted gradients with respect to the logits, of positive and negative terms."""
    if labels.ndim == 2:
        return positive * torch.sigmoid(-logits) * labels, negative * torch.sigmoid(logits) * (1 - labels)
    miss, own = torch.sigmoid(-towards_truth(logits, labels)), is_label(labels, logits.shape[1])
    return positive * miss * own, negative * miss * ~own


class EqualizationV2(Criterion):
    """EQL v2: a sum of binary cross-entropies, re-weighted by the gradients that each class has accumulated so far.

    A class with less positive than negative gradient gets smaller weights of its negative terms and larger weights, up to
    1 + alpha, of its positive terms. A batch is weighted by the gradients of the batches before it. These come from the
    network's logits, the mean over several experts, without margins. The authors' detectors have a further column for
    objectness, which classification does not have. initial_probability as in SigmoidFocal; theirs is 0.001. Of several labels
    per row, each class has a loss of its own.

    Tan et al., 2021, arXiv 2012.08548.
    """

    accepts = BOTH
    balances = True
    positive_gradient: Tensor
    negative_gradient: Tensor
    ratio: Tensor

    def __init__(
        self,
        alpha: float = 4.0,
        gamma: float = 12.0,
        mu: float = 0.8,
        initial_probability: float | None = None,
        *,
        num_classes: int,
    ):
        super().__init__()
        if alpha < 0 or gamma < 0:
            raise ConfigError(f"alpha and gamma must not be negative, which would favour the head, got {alpha} and {gamma}")
        self.alpha, self.gamma, self.mu = alpha, gamma, mu
        self.start = starting_logits(initial_probability, num_classes)
        for name in ("positive_gradient", "negative_gradient"):
            self.register_buffer(name, torch.zeros(num_classes))
        self.register_buffer("ratio", torch.full((num_classes,), 100.0))  # the authors' value: all weights start at 1

    def weights(self) -> tuple[Tensor, Tensor]:
        return equalization_weights(self.ratio, self.alpha, self.gamma, self.mu)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        losses = equalization_v2 if labels.ndim == 1 else equalization_v2_of_several
        return losses(logits + self.start[labels.ndim - 1], labels, *self.weights())

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        logits, targets, weights = outputs["main"].need("logits"), streams["main"].targets, self.weights()
        for column in targets.columns(logits):
            positive, negative = gradient_sizes(logits + self.start[column.labels.ndim - 1], column.labels, *weights)
            share = column.share if column.labels.ndim == 2 else column.share[:, None]
            self.positive_gradient += (share * positive).sum(dim=0)
            self.negative_gradient += (share * negative).sum(dim=0)
        self.ratio.copy_(self.positive_gradient / (self.negative_gradient + 1e-10))
