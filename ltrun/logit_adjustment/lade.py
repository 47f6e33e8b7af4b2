"""LADE: disentangles the logits from the class prior, by a bound on the density ratio of each class."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Term
from ltrun.targets import one_label
from ltrun.types import ClassStats, Labels, Outputs, Streams

EPSILON = 1e-9  # added to the priors in logarithms, as in the authors' code
NOT_ZERO = 1e-8  # added to a class's number of images in the batch, as in the authors' code


def shares(targets: Labels, num_classes: int) -> Tensor:
    """(B, C): the share of each class in each row's labels; one-hot unless the rows were mixed."""
    return targets.weight.new_zeros(len(targets), num_classes).scatter_add(1, targets.index, targets.weight)


def lade(logits: Tensor, shares: Tensor, prior: Tensor, remine_lambda: float = 0.1) -> Tensor:
    """A scalar: -sum_c prior_c * (mean logit of class c's rows - r_c - remine_lambda * r_c ** 2).

    r_c is the logarithm of the batch's mean of exp(logit_c) * (1 / C) / prior_c, over all rows. logits, shares: (B, C); prior:
    (C,). A class without rows in the batch has a mean logit of 0, so only its r_c counts.
    """
    rows, classes = logits.shape
    shift = torch.log(prior + EPSILON) - math.log(1 / classes + EPSILON)
    mean = (logits * shares).sum(0) / (shares.sum(0) + NOT_ZERO)
    ratio = torch.logsumexp(logits - shift, dim=0) - math.log(rows)
    return -(prior * (mean - ratio - remine_lambda * ratio.square())).sum()


class LADE(Term):
    """LADE's regulariser: pulls each logit to its class's log density ratio, by the regularised Donsker-Varadhan bound.

    LADE is LAbel distribution DisEntangling. `logit_adjustment=lade` adds this term, with weight 0.1, to the loss of logits
    plus log prior; the plain logits predict, for balanced test data. remine_lambda keeps the bound's constant near 0: the
    authors' files have 0.1 with weight 0.1 for CIFAR-100, ImageNet-LT and Places-LT, 0.5 with weight 0.05 for iNaturalist. A
    mixed row counts for each of its classes by its share.

    Hong et al., 2021, arXiv 2012.00321.
    """

    prior: Tensor

    def __init__(self, remine_lambda: float = 0.1, *, stats: ClassStats):
        super().__init__()
        if remine_lambda < 0:
            raise ConfigError(f"remine_lambda must be at least 0, got {remine_lambda}")
        self.remine_lambda = remine_lambda
        self.register_buffer("prior", stats.prior, persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        logits = outputs["main"].need("logits")
        with torch.autocast(logits.device.type, enabled=False):  # exp of a logit needs float32
            return lade(
                logits.float(), shares(one_label(streams["main"].targets), len(self.prior)), self.prior, self.remine_lambda
            )
