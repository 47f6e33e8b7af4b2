"""ResLT's loss: branches for all, the less frequent and the rarest classes, each on its images, and all together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from ltrun.ensemble.per_expert import check_number
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Adjust, Criterion, Term, Weigh
from ltrun.targets import one_label
from ltrun.types import ClassStats, Labels, Outputs, Streams, fraction_of

EPSILON = 1e-7  # added to the label's probability in a branch's own loss, as in the authors' code

Base = Callable[[Tensor, Labels], Tensor]


def ranks(counts: Tensor) -> Tensor:
    """(C,): the place of each class, 0 for the most frequent one; equal counts are in the order of the classes."""
    return counts.argsort(descending=True, stable=True).argsort()


def reslt(branches: Tensor, trains: Tensor, targets: Labels, own: Base, fused: Base, beta: float) -> Tensor:
    """A scalar: beta times the branches' own losses, plus 1 - beta times the loss of the sum of their logits (E, B, C).

    trains: (E, C), 1 for the classes whose images train a branch, else 0. A branch's own loss is a sum over its images, and
    the sum over branches is divided by all images counted. own, fused: logits (B, C), targets -> mean over the B rows.
    """
    parts = [Labels(targets.index, targets.weight * row[targets.index]) for row in trains]
    images = torch.stack([part.weight.sum() for part in parts]).sum()
    alone = torch.stack([own(logits, part) for logits, part in zip(branches, parts, strict=True)]).sum()
    return beta * alone * len(targets) / images + (1 - beta) * fused(branches.sum(dim=0), targets)


class _Floored(Criterion):
    """-log(exp(-loss) + 1e-7): the loss of another criterion, with the likelihood kept above 1e-7."""

    def __init__(self, criterion: Criterion):
        super().__init__()
        self.criterion = criterion

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return -((-self.criterion(logits, labels, outputs)).exp() + EPSILON).log()


class ResLT(Term):
    """Residual learning: all images train the first branch, those of less frequent classes the second, of the rarest the third.

    starts: for each branch the fraction of the classes, ranked from the most frequent one on, at which its classes begin; null
    is e / E for branch e of E. 0, 0.35 and 0.7 are the authors' for CIFAR-100; 0, 0.2 and 0.4 for CIFAR-10. beta: weight of
    the branches' own losses; the rest is the loss of the sum of all logits, which predicts. 0.995 is the value for CIFAR-100
    with an imbalance of 100; 0.99 for 50, 0.72 for 10. Losses are the run's classification loss.

    Cui et al., 2021, arXiv 2101.10633.
    """

    reads = frozenset({"experts"})
    balances = True
    rank: Tensor

    def __init__(
        self,
        starts: Sequence[float] | None = None,
        beta: float = 0.995,
        *,
        stats: ClassStats,
        classify: Classification,
    ):
        super().__init__()
        if starts is not None and not all(0 <= start < 1 for start in starts):
            raise ConfigError(f"starts must be fractions of the classes, from 0 to below 1, got {list(starts)}")
        if starts is not None and (not starts or starts[0] != 0):
            raise ConfigError(f"starts must begin with 0, because the first branch learns all classes, got {list(starts)}")
        if not 0 <= beta <= 1:
            raise ConfigError(f"beta must lie between 0 and 1, got {beta}")
        self.starts, self.beta, self.classify = starts, beta, classify
        adjusts, weighs = [cast(Adjust, part) for part in classify.adjusts], [cast(Weigh, part) for part in classify.weighs]
        self.own = Classification(adjusts=adjusts, weighs=weighs, criterion=_Floored(classify.criterion))
        self.register_buffer("rank", ranks(stats.counts), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        branches = output.need("experts")
        own, fused = (partial(base.loss, outputs=output) for base in (self.own, self.classify))
        return reslt(branches, self.trains(len(branches)).to(targets.weight.dtype), targets, own, fused, self.beta)

    def trains(self, branches: int) -> Tensor:
        """(E, C): whether images of a class train a branch."""
        check_number("ensemble=reslt", "starts", self.starts, branches)
        starts = self.starts or [branch / branches for branch in range(branches)]
        return torch.stack([self.rank >= fraction_of(len(self.rank), start) for start in starts])
