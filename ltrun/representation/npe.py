"""Neural prior estimator (NPE): the term that trains prior estimation modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.classifier.prior_estimator import PriorEstimator
from ltrun.numerics import widened
from ltrun.parts import Network, Term
from ltrun.types import Outputs, Streams


def sunk(priors: Tensor, labels: Tensor) -> Tensor:
    """(B,): the sum over the modules of softplus(h_y), a binary cross-entropy of the label alone with target 0.

    priors: (K, B, C) outputs of the modules. labels: (B,).
    """
    own = priors.gather(2, labels.expand(len(priors), -1)[:, :, None])[:, :, 0]
    return F.softplus(own).sum(dim=0)


class NPE(Term):
    """Trains the modules of `PriorEstimator`: the mean over images of the sum over modules of softplus(h_y).

    Each step lowers the output of a module for the image's label alone, so that it ends the lower the more images a class has.
    Nothing else than weight decay and the schedule stops it, so the size of the correction depends on both. Gradients reach
    the features, as in the authors' code. Mixed labels count by their share.

    Yavari and Moallem, 2026, arXiv 2602.17853.
    """

    reads = frozenset({"features", "head", "priors"})
    balances = True

    def __init__(self, *, network: Network):
        super().__init__()
        self.held = (network,)  # a plain tuple, because the network saves its own parameters

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        (network,) = self.held
        head = cast(PriorEstimator, network.get_submodule(network.head_names()[0]))
        priors = head.priors(widened(outputs["main"].need("features")))
        columns = [(sunk(priors, c.labels) * c.share).mean() for c in streams["main"].targets.columns(priors)]
        return torch.stack(columns).sum()
