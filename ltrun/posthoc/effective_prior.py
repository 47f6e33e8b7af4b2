"""Effective prior: the network's mean prediction on training images, subtracted from its logits."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import held
from ltrun.parts import Evidence, PostHoc
from ltrun.types import ClassStats, Outputs

LEAST = 1e-12  # lower bound of a prior, so that its logarithm is finite


def mean_prediction(batches: Iterable[Tensor]) -> Tensor:
    """(C,) float64: the mean softmax over all rows. batches: logits, (B, C) each."""
    sums, rows = torch.zeros((), dtype=torch.float64), 0
    for logits in batches:
        sums, rows = sums + logits.double().softmax(1).sum(0), rows + len(logits)
    return sums / rows


def source_prior(batches: Iterable[Tensor], present: Tensor) -> Tensor:
    """(C,) float64: the mean prediction, at least LEAST; classes that are not `present` (C,) get the least of the others.

    A network's prediction for a class that it has never seen is no prior, and its logarithm may be arbitrarily low.
    """
    prior = mean_prediction(batches).clamp(min=LEAST)
    return torch.where(present, prior, prior[present].min())


class EffectivePrior(PostHoc):
    """Effective prior: subtracts tau * log of the mean predicted distribution over the training images.

    Uses no labels and no counts, except that a class without training images gets the offset of the least predicted class
    with images.

    A network that fits its training data predicts the training prior on average: the cross-entropy of a softmax with bias has
    its minimum there. For plain training the result is therefore close to `posthoc=logit_adjustment`; where the two differ,
    this part follows the network. Not for a network trained with an adjustment: on long-tailed images its mean prediction is
    long-tailed too, so the prior would be countered twice.

    Alexandari et al., 2020, arXiv 1901.06852 (the mean prediction for the source prior); Bhat et al., 2025, arXiv 2412.16540.
    """

    sees = frozenset({"train"})
    balances = True
    adjustment: Tensor

    def __init__(self, tau: float = 1.0, *, stats: ClassStats):
        super().__init__()
        if tau < 0:
            raise ConfigError(f"tau must not be negative, which would favour the head, got {tau}")
        self.tau = tau
        self.present = stats.counts > 0
        self.register_buffer("adjustment", torch.zeros(stats.num_classes))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        logits = (outputs.need("logits") for outputs in splits["train"].batches())
        self.adjustment = held(self.tau * source_prior(logits, self.present).log(), "tau", self.tau)

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") - self.adjustment
