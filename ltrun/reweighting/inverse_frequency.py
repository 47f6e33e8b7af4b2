"""Inverse-frequency re-weighting: class weights from the inverse of the class counts."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Weigh
from ltrun.reweighting.effective_number import sum_to_num_classes
from ltrun.types import ClassStats, Outputs, as_rarest


def inverse_frequency_weights(counts: Tensor, exponent: float) -> Tensor:
    """(C,) float64, proportional to n_c ** -exponent, with sum C."""
    return sum_to_num_classes(counts.double() ** -exponent, counts)


def inverse_share_weights(counts: Tensor, images: int, exponent: float) -> Tensor:
    """(C,) float64: (N / n_j) ** exponent; a class without images counts as the rarest class with images."""
    return (images / as_rarest(counts).double()) ** exponent


class InverseFrequency(Weigh):
    """Inverse frequency: weights a row by n_c ** -exponent of its class: 1 is inverse frequency, 0.5 its square root.

    The weights sum to C, as in IB-Loss (Park et al., 2021, arXiv 2110.02444); cost-sensitive cross-entropy scales them to a
    largest weight of 1 (Zhang et al., 2021, BagofTricks-LT), which is the same loss, since both divide by the sum of the
    batch's weights. Of several labels per row, the weight of a class is (N / n_c) ** exponent, of positive and negative terms
    alike, and the loss is their plain mean (Wu et al., 2020, arXiv 2007.09654).

    Huang et al., 2016, Learning Deep Representation for Imbalanced Classification, CVPR.
    """

    accepts = BOTH
    balances = True
    weights: Tensor
    of_entries: Tensor

    def __init__(self, exponent: float = 1.0, *, stats: ClassStats):
        super().__init__()
        if exponent < 0:
            raise ConfigError(f"exponent must not be negative, which would favour the head, got {exponent}")
        weights = inverse_frequency_weights(stats.counts, exponent).float()
        if not (weights[stats.counts > 0] > 0).all():
            raise ConfigError(f"exponent must be smaller here, or the weights of large classes round to 0, got {exponent}")
        self.register_buffer("weights", weights)
        of_entries = inverse_share_weights(stats.counts, stats.images, exponent).clamp(max=torch.finfo(torch.float32).max)
        self.register_buffer("of_entries", of_entries.float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels] if labels.ndim == 1 else self.of_entries.expand_as(labels)
