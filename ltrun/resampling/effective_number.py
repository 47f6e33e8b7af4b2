"""Effective-number sampling: images drawn by the inverse effective number of their class."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.resampling.members import members
from ltrun.resampling.power import draw_rows
from ltrun.reweighting.effective_number import effective_number_weights
from ltrun.types import Clock, Targets


def effective_number_probabilities(counts: Tensor, beta: float) -> Tensor:
    """(C,) float64, proportional to n_c / E_n with E_n = (1 - beta ** n_c) / (1 - beta); 0 for a class without images."""
    shares = counts * effective_number_weights(counts, beta)
    return shares / shares.sum()


class EffectiveNumber(Sampler):
    """Draws every image with probability proportional to 1 / E_n, the inverse effective number of images of its class.

    A class of n_c images then gets n_c / E_n of the draws: instance-balanced at beta = 0, class-balanced as beta approaches 1,
    and nearly so at 0.9999 with classes of hundreds of images. Each class has the same share of the expected loss as with
    `reweighting=class_balanced`. Cui et al. re-weight; Cao et al. also re-sample ("CB RS"), but their published code builds
    the sampler after the loader and never uses it. An epoch has len(targets) rows, drawn with replacement. The
    probability of an image with several labels is proportional to the sum of 1 / E_n over them, and 0 without labels.

    Cao et al., 2019, arXiv 1906.07413, after Cui et al., 2019, arXiv 1901.05555.
    """

    accepts = BOTH
    balances = True

    def __init__(self, beta: float = 0.9999):
        super().__init__()
        if not 0 <= beta < 1:
            raise ConfigError(f"beta must be at least 0 and below 1, got {beta}")
        self.beta = beta

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        rows, classes = members(targets, generator)
        probabilities = effective_number_probabilities(torch.bincount(classes), self.beta)
        return rows[draw_rows(classes, probabilities, len(targets), generator)]
