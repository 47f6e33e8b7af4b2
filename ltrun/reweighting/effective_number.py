"""Class-balanced loss: class weights from the effective number of images."""

import math
from typing import Literal

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Weigh
from ltrun.types import ClassStats, Outputs, as_rarest

Mode = Literal["by_class", "average_w", "average_n", "min_n"]


def sum_to_num_classes(weights: Tensor, counts: Tensor) -> Tensor:
    """Scales (C,) weights to a mean of 1 over the classes that have images; a class without images gets 0."""
    weights = torch.where(counts > 0, weights, 0.0)
    return weights * ((counts > 0).sum() / weights.sum())


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """(C,) float64, proportional to (1 - beta) / (1 - beta ** n_c), with sum C. beta = 0 gives exactly 1 everywhere."""
    return sum_to_num_classes((1 - beta) / (1 - beta ** counts.double()), counts)


def inverse_effective_number(counts: Tensor, beta: float) -> Tensor:
    """(1 - beta) / (1 - beta ** n), exact in float32 too. counts n: above 0, infinity gives 1 - beta."""
    return (1 - beta) / -torch.expm1(counts * (math.log(beta) if beta > 0 else -math.inf))


def weights_of_several(labels: Tensor, counts: Tensor, beta: float, mode: Mode) -> Tensor:
    """(B, C): inverse effective numbers of several labels per row; `mode` as in EffectiveNumber. A row without labels counts
    as one of a class of infinitely many images, except by class. labels: (B, C). counts: (C,) floats, above 0."""
    if mode == "by_class":
        return inverse_effective_number(counts, beta).expand_as(labels)
    number = labels.sum(dim=1, keepdim=True)
    some, least = number > 0, torch.finfo(labels.dtype).tiny
    if mode == "average_w":
        mean = (labels * inverse_effective_number(counts, beta)).sum(dim=1, keepdim=True) / number.clamp(min=least)
        return torch.where(some, mean, 1 - beta).expand_as(labels)
    if mode == "average_n":
        images = torch.where(some, (labels * counts).sum(dim=1, keepdim=True) / number.clamp(min=least), math.inf)
    else:
        images = torch.where(labels > 0, counts, math.inf).amin(dim=1, keepdim=True)
    return inverse_effective_number(images, beta).expand_as(labels)


class EffectiveNumber(Weigh):
    """Class-balanced loss: weights a row by the inverse effective number of images of its class, 1 / E_n.

    The weights sum to C. mean: 'weights' divides by the sum of the batch's weights, as LDAM-DRW and its many descendants
    do; 'batch' divides by the batch size, as the authors' TensorFlow code does. beta = 0.9999 is the authors' value.

    Of several labels per row, one weight holds for positive and negative terms, and the loss is the plain mean. mode:
    'average_w', the mean of the weights of the row's labels; 'average_n', the weight of the mean of their numbers of images;
    'min_n', the weight of its rarest label (all of Wu et al., 2020, arXiv 2007.09654); 'by_class', a weight for each class, as
    in VideoLT (Zhang et al., 2021, arXiv 2105.02668). scaled = false is Wu et al.'s loss, whose weights do not sum to C.

    Cui et al., 2019, arXiv 1901.05555.
    """

    accepts = BOTH
    balances = True
    weights: Tensor
    counts: Tensor

    def __init__(
        self,
        beta: float = 0.9999,
        mean: Literal["weights", "batch"] = "weights",
        mode: Mode = "average_w",
        scaled: bool = True,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        self.mean, self.mode = mean, mode
        if not 0 <= beta < 1:
            raise ConfigError(f"beta must be at least 0 and below 1, got {beta}")
        weights = effective_number_weights(stats.counts, beta)
        plain = inverse_effective_number(stats.counts.double(), beta)
        self.beta, self.scale = beta, float(weights.sum() / plain[stats.counts > 0].sum()) if scaled else 1.0
        self.register_buffer("weights", (weights if scaled else torch.where(stats.counts > 0, plain, 0.0)).float())
        self.register_buffer("counts", as_rarest(stats.counts).float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        if labels.ndim == 2:
            return self.scale * weights_of_several(labels, self.counts, self.beta, self.mode)
        return self.weights[labels]
