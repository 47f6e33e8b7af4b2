"""PC softmax: post-compensation of the posterior from the training prior to the test prior."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.logit_adjustment.logit_adjustment import log_prior
from ltrun.parts import PostHoc
from ltrun.types import ClassStats, Outputs

EPSILON = 1e-9  # added to the priors in logarithms, as in LADE's code


def target_counts(target: list[float] | None, num_classes: int) -> Tensor:
    """(C,) float64: the given class counts or shares at test time, or ones. Raises ConfigError for invalid ones."""
    if target is None:
        return torch.ones(num_classes, dtype=torch.float64)
    if len(target) != num_classes or min(target) < 0 or sum(target) <= 0:
        raise ConfigError(f"target must hold {num_classes} numbers of at least 0, one per class, not all 0, got {target}")
    return torch.tensor(target, dtype=torch.float64)


class PCSoftmax(PostHoc):
    """Post-compensated softmax: logits - log training prior + log prior of the test data.

    For a network trained with plain cross-entropy. target: the test data's class counts or shares, if known; null is uniform,
    which equals `posthoc=logit_adjustment` with tau = 1.

    Hong et al., 2021, arXiv 2012.00321.
    """

    balances = True
    adjustment: Tensor

    def __init__(self, target: list[float] | None = None, *, stats: ClassStats):
        super().__init__()
        given = target_counts(target, stats.num_classes)
        after = (given / given.sum() + EPSILON).log()  # a class without test images gets a very low score
        self.register_buffer("adjustment", (log_prior(stats.counts, 1.0, EPSILON) - after).float())

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") - self.adjustment
