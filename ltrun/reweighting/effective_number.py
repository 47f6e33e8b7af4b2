"""Class-balanced loss: class weights from the effective number of images."""

from typing import Literal

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Weigh
from ltrun.types import ClassStats, Outputs


def sum_to_num_classes(weights: Tensor, counts: Tensor) -> Tensor:
    """Scales (C,) weights to a mean of 1 over the classes that have images; a class without images gets 0."""
    weights = torch.where(counts > 0, weights, 0.0)
    return weights * ((counts > 0).sum() / weights.sum())


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """(C,) float64, proportional to (1 - beta) / (1 - beta ** n_c), with sum C. beta = 0 gives exactly 1 everywhere."""
    return sum_to_num_classes((1 - beta) / (1 - beta ** counts.double()), counts)


class EffectiveNumber(Weigh):
    """Class-balanced loss: weights a row by the inverse effective number of images of its class, 1 / E_n.

    The weights sum to C. mean: 'weights' divides by the sum of the batch's weights, as LDAM-DRW and its many descendants
    do; 'batch' divides by the batch size, as the authors' TensorFlow code does. beta = 0.9999 is the authors' value.

    Cui et al., 2019, arXiv 1901.05555.
    """

    balances = True
    weights: Tensor

    def __init__(self, beta: float = 0.9999, mean: Literal["weights", "batch"] = "weights", *, stats: ClassStats):
        super().__init__()
        self.mean = mean
        if not 0 <= beta < 1:
            raise ConfigError(f"beta must be at least 0 and below 1, got {beta}")
        self.register_buffer("weights", effective_number_weights(stats.counts, beta).float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels]
