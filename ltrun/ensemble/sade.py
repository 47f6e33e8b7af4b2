"""SADE's loss: three experts, for the long-tailed, the balanced and the inverse class distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.numerics import held
from ltrun.parts import Term
from ltrun.types import ClassStats, Outputs, Streams, as_rarest

EPSILON = 1e-9  # added to the priors in logarithms, as in the authors' code


def inverse_prior(prior: Tensor) -> Tensor:
    """(C,): the prior's values in reversed order of rank, so that the rarest class gets the largest; not 1 / prior."""
    order = prior.argsort(stable=True)
    return torch.empty_like(prior).scatter(0, order, prior[order].flip(0))


def shifts(prior: Tensor, tau: float) -> Tensor:
    """(3, C): offsets of the logits, for the experts of many-shot, all and few-shot classes."""
    balanced = (prior + EPSILON).log()
    inverse = balanced - tau * (inverse_prior(prior) + EPSILON).log()
    return torch.stack([torch.zeros_like(prior), balanced, inverse])


def sade(experts: Tensor, shifts: Tensor, base: Callable[[Tensor], Tensor]) -> Tensor:
    """A scalar: base(logits (B, C)) summed over the experts (3, B, C), each shifted by its row of shifts (3, C)."""
    return torch.stack([base(logits) for logits in experts + shifts[:, None]]).sum()


class SADE(Term):
    """SADE: sums the run's classification loss over three experts, with plain, balanced and inverse softmax.

    The second expert's logits are shifted by the log prior, the third's further by -tau times the log of the inverse prior,
    so the experts aim at the long-tailed, the uniform and the inverse class distribution. tau: 2 for CIFAR-100 and
    ImageNet-LT, 1 for iNaturalist and Places. Classes of equal count are ranked in class order; the authors' code ranks them
    by an unstable sort.

    Zhang et al., 2022, arXiv 2107.09249.
    """

    reads = frozenset({"experts"})
    balances = True
    shifts: Tensor

    def __init__(self, tau: float = 2.0, *, stats: ClassStats, classify: Classification):
        super().__init__()
        if tau < 0:
            raise ConfigError(f"tau must be at least 0, got {tau}")
        self.classify = classify
        prior = as_rarest(stats.counts).double() / stats.counts.sum()
        self.register_buffer("shifts", held(shifts(prior, tau), "tau", tau), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], streams["main"].targets
        experts = output.need("experts")
        if len(experts) != len(self.shifts):
            raise ConfigError(f"ensemble=sade trains 3 experts, got {len(experts)}; set ensemble.network.num_experts=3")
        return sade(experts, self.shifts, partial(self.classify.loss, targets=targets, outputs=output))
