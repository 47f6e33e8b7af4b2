"""UNO-IC: posteriors rebalanced to another prior, and flattened for images of high uncertainty."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import held
from ltrun.parts import Evidence, PostHoc
from ltrun.posthoc.pc_softmax import target_counts
from ltrun.types import ClassStats, Outputs, as_rarest

NEVER = -1e4  # a finite log ratio whose exp is 0


def log_ratio(counts: Tensor, target: Tensor) -> Tensor:
    """(C,) float64: log of each class's share at test time over its share in training; NEVER if the former is 0.

    A class without training images counts as the rarest class with images.
    """
    before, after = as_rarest(counts).double() / counts.sum(), target.double() / target.sum()
    return torch.where(after > 0, (after / before).log(), NEVER)


def entropy(logits: Tensor) -> Tensor:
    """(B,): the entropy of the softmax, in nats."""
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def deviation_ratio(uncertainty: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(B,), at most 1: mean / (mean + excess), with excess = max(0, uncertainty - mean - std)."""
    mean = mean.clamp(min=torch.finfo(mean.dtype).eps)
    return mean / (mean + (uncertainty - mean - std).clamp(min=0))


class UNOIC(PostHoc):
    """Imbalance calibration: interpolates between the network's posterior p and the posterior q for another prior.

    q_c ~ p_c * target_c / prior_c. The scores are the logarithm of p ** (1 - strength) * q ** strength, normalised. With a
    uniform target they are the log probabilities of post-hoc logit adjustment with tau = strength. The authors tune strength
    on validation data; it is 1.3 on Places-LT.

    This is their form for classification networks. From their form for segmentation, `posthoc=uno_ic_flattened` adds
    likelihood flattening; the noisy-or is left out, because it needs several modalities.

    Tian et al., 2020, arXiv 2010.11820.
    """

    balances = True
    shift: Tensor

    def __init__(self, strength: float = 1.0, target: list[float] | None = None, *, stats: ClassStats):
        super().__init__()
        if strength < 0:
            raise ConfigError(f"strength must not be negative, which would favour the head, got {strength}")
        ratio = log_ratio(stats.counts, target_counts(target, stats.num_classes))
        self.register_buffer("shift", held(strength * ratio, "strength", strength))

    def forward(self, outputs: Outputs) -> Tensor:
        return (outputs.need("logits") + self.shift).log_softmax(1)


class LikelihoodFlattening(PostHoc):
    """Likelihood flattening: scales down the logits of images with unusually high softmax entropy, then applies `then`.

    logits * mean / (mean + max(0, entropy - mean - std)), with mean and std over the entropies of validation images. Images
    with entropies like theirs keep their logits; the scores of degraded images approach the prior.

    Tian et al., 2020, arXiv 2010.11820, after arXiv 1911.05611.
    """

    sees = frozenset({"val"})
    mean: Tensor
    std: Tensor

    def __init__(self, then: PostHoc):
        super().__init__()
        if then.sees or then.reads != frozenset({"logits"}):
            raise ConfigError(f"then must be a post-hoc part that reads logits only and no split, got {type(then).__name__}")
        self.then = then
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.zeros(()))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        found = torch.cat([entropy(outputs.need("logits")) for outputs in splits["val"].batches()])
        self.mean, self.std = found.mean(), found.std(correction=0)

    def forward(self, outputs: Outputs) -> Tensor:
        ratio = deviation_ratio(entropy(outputs.need("logits")), self.mean, self.std)
        return self.then(replace(outputs, logits=outputs.need("logits") * ratio[:, None]))
