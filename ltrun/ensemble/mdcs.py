"""MDCS's loss: experts with powers of the class counts, each of which teaches its strong view of an image by its weak one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.ensemble.per_expert import of_each
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.types import ClassStats, Outputs, Streams, View, as_rarest

EPSILON = 1e-9  # added to the powers of the counts in their logarithm, as in the authors' code
SPAN = (-0.5, 2.5)  # of the exponents, with null


def consistency(weak: Tensor, strong: Tensor, labels: Tensor) -> Tensor:
    """(E,): the mean of KL(softmax(weak) || softmax(strong)) over the rows whose weak logits are largest for the label.

    weak, strong: (E, B, C); the weak logits get no gradient. An expert without such a row has 0. labels: (B,).
    """
    teacher = weak.detach()
    right = teacher.argmax(dim=2) == labels
    targets = teacher.log_softmax(dim=2)
    rows = F.kl_div(strong.log_softmax(dim=2), targets, reduction="none", log_target=True).sum(dim=2)
    return (rows * right).sum(dim=1) / right.sum(dim=1).clamp(min=1)


def mdcs(
    weak: Tensor,
    strong: Tensor,
    labels: Tensor,
    base: Callable[[Tensor], Tensor],
    base_of_strong: Callable[[Tensor], Tensor],
    strength: Tensor | float,
) -> Tensor:
    """A scalar: the sum over experts of the mean of both views' losses, plus strength times the sum of their consistencies.

    weak, strong: adjusted logits (E, B, C) of two views. base: logits (B, C) -> scalar.
    """
    both = [base(teacher) + base_of_strong(student) for teacher, student in zip(weak, strong, strict=True)]
    return torch.stack(both).sum() / 2 + strength * consistency(weak, strong, labels).sum()


class MDCS(Term):
    """MDCS: experts for different parts of the distribution, and self-distillation from a weak to a strong view.

    Each expert's logits are shifted by log(n ** exponent + 1e-9), n the images of a class; exponents: one for each expert,
    null spaces them evenly from -0.5 to 2.5. The run's classification loss of both views is summed over experts. `strength`
    times the consistency of the views is added, for rows that the weak view gets right by the shifted logits; it grows from
    0 over the first fraction `ramp` of the stage. The mean of the plain logits predicts.

    The weak view is stream `main`, with the run's augmentation (rotation in the paper), the strong one stream `student`. Each
    stream has its own batch statistics, where the authors normalise both views together.

    Zhao et al., 2023, arXiv 2308.09922.
    """

    streams = ("main", "student")
    reads = frozenset({"experts"})
    mixed = False
    balances = True
    counts: Tensor
    now: Tensor

    def __init__(
        self,
        exponents: Sequence[float] | None = None,
        strength: float = 0.6,
        ramp: float = 0.05,
        *,
        stats: ClassStats,
        classify: Classification,
    ):
        super().__init__()
        if exponents is not None and not all(abs(exponent) <= 8 for exponent in exponents):
            raise ConfigError(f"exponents must lie between -8 and 8, got {list(exponents)}")
        if strength < 0:
            raise ConfigError(f"strength must be at least 0, got {strength}")
        if not 0 <= ramp <= 1:
            raise ConfigError(f"ramp must be a fraction of a stage, from 0 to 1, got {ramp}")
        self.exponents, self.strength, self.ramp, self.classify = exponents, strength, ramp, classify
        self.register_buffer("counts", as_rarest(stats.counts).double(), persistent=False)
        self.register_buffer("now", torch.tensor(strength))

    def adapt(self, view: View) -> None:
        warm = self.ramp * view.clock.epochs
        self.now.fill_(self.strength * (min((view.clock.epoch + 1) / warm, 1.0) if warm > 0 else 1.0))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        weak, strong = (outputs[name].need("experts") for name in self.streams)
        exponents = of_each("ensemble=mdcs", "exponents", self.exponents, SPAN, len(weak), self.counts)
        shifts = (self.counts ** exponents[:, None] + EPSILON).log().to(weak.dtype)[:, None]
        base, base_of_strong = (
            partial(self.classify.loss, targets=streams[name].targets, outputs=outputs[name]) for name in self.streams
        )
        return mdcs(weak + shifts, strong + shifts, streams["main"].targets.labels, base, base_of_strong, self.now)
