"""BalPoE's loss: experts whose logits are shifted by different powers of the class prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ltrun.ensemble.per_expert import of_each
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.types import ClassStats, Outputs, Streams, as_rarest

EPSILON = 1e-9  # added to the prior in its logarithm, as in the authors' code
SPAN = (0.0, 2.0)  # of the taus, with null: for an uneven number of experts their mean is that of balanced softmax


def balpoe(experts: Tensor, shifts: Tensor, base: Callable[[Tensor], Tensor]) -> Tensor:
    """A scalar: the mean over the experts (E, B, C) of base(logits (B, C)), each shifted by its row of shifts (E, C)."""
    return torch.stack([base(logits) for logits in experts + shifts[:, None]]).mean()


class BalPoE(Term):
    """Balanced product of experts: the mean over experts of the run's classification loss on logits + tau * log(prior + 1e-9).

    taus: one for each expert; null spaces them evenly from 0, the long-tailed distribution, to 2, the inverse one. The mean of
    the plain logits predicts, whose own tau is the mean of the taus, 1 for a balanced test set. The loss is a mean, where
    RIDE and SADE add the experts up, so a rate of theirs acts three times smaller. Mixup (augmentation=rotation_mixup)
    calibrates the experts, which the authors' theory asks for.

    Aimar et al., 2023, arXiv 2206.05260.
    """

    reads = frozenset({"experts"})
    balances = True
    log_prior: Tensor

    def __init__(self, taus: Sequence[float] | None = None, *, stats: ClassStats, classify: Classification):
        super().__init__()
        if taus is not None and not all(abs(tau) <= 100 for tau in taus):
            raise ConfigError(f"taus must lie between -100 and 100, got {list(taus)}")
        self.taus, self.classify = taus, classify
        prior = as_rarest(stats.counts).double() / stats.counts.sum()
        self.register_buffer("log_prior", (prior + EPSILON).log().float(), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], streams["main"].targets
        experts = output.need("experts")
        taus = of_each("ensemble=balpoe", "taus", self.taus, SPAN, len(experts), self.log_prior)
        return balpoe(experts, taus[:, None] * self.log_prior, partial(self.classify.loss, targets=targets, outputs=output))
