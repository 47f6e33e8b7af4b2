"""ImbSAM: SAM for the loss of the tail classes alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import Shots
from ltrun.parts import Descent, Objective, Outcome, Part, Update
from ltrun.regularization.sam import ascent, away, check_rho, descend, trained
from ltrun.targets import Labels, one_label
from ltrun.types import ClassStats, Outputs, Streams, View


def of_classes(streams: Streams, classes: Tensor) -> Streams:
    """Returns streams in which the labels of all other classes weigh 0. classes: (C,) boolean mask."""

    def kept(targets: Labels) -> Labels:
        return replace(targets, weight=targets.weight * classes[targets.index])

    return {name: batch.replace(targets=kept(one_label(batch.targets))) for name, batch in streams.items()}


class ImbSAM(Update):
    """Imbalanced SAM: the plain gradient of the head classes' loss, and SAM's gradient of the tail classes' loss.

    Tail classes have fewer than `few` training images. Their loss is the run's loss with the weight 0 for all other labels, so
    that it has the divisor of the whole batch, and a mixed row belongs to both in its labels' shares. With g_tail its gradient
    and w' = w + rho * g_tail(w) / |g_tail(w)|, the step is taken from w along g(w) + tail_weight * g_tail(w') - g_tail(w).
    A batch without tail classes gives the plain step. Terms that read no weights of labels, such as contrastive ones, get
    SAM's gradient as a whole. The paper adds both losses; the authors' code doubles the tail's, which is `tail_weight`: 2.

    A step has two forward and three backward passes. The second forward pass moves no running statistics; the authors' does.

    Zhou et al., 2023, arXiv 2308.07815.
    """

    accepts = Part.accepts  # parts the loss by label
    tail: Tensor

    def __init__(self, rho: float = 0.05, few: int = Shots.few, tail_weight: float = 2.0, *, stats: ClassStats):
        super().__init__()
        check_rho(rho)
        if tail_weight <= 0:
            raise ConfigError(f"tail_weight must be above 0, got {tail_weight}")
        self.rho, self.tail_weight = rho, tail_weight
        self.few, self.least = few, int(stats.counts[stats.counts > 0].min())
        self.register_buffer("tail", (stats.counts < few).float(), persistent=False)

    def adapt(self, view: View) -> None:
        if self.least >= self.few:  # not known before the run's own data are open
            raise ConfigError(
                f"regularization.update.few must be above {self.least}, the images of the smallest class, got {self.few}; "
                "without a tail class, choose regularization=sam"
            )

    def forward(self, objective: Objective, optimizer: Descent, streams: Streams) -> Outcome:
        objective.check_unscaled(self)
        optimizer.zero_grad(set_to_none=True)
        weights, prepared = trained(optimizer), objective.prepared(streams)
        values, outputs, seen = objective.of(prepared)
        here = objective.gradient(self._loss(objective, outputs, seen), weights, again=True)
        whole = objective.gradient(values["total"], weights)
        with away(objective.network, weights, ascent(here, self.rho)):
            _, found, again = objective.of(prepared)
            there = objective.gradient(self._loss(objective, found, again), weights)
        change = torch._foreach_sub(torch._foreach_mul(there, self.tail_weight), here)
        descend(optimizer, weights, torch._foreach_add(whole, change))
        return values, outputs, seen

    def _loss(self, objective: Objective, outputs: dict[str, Outputs], seen: Streams) -> Tensor:
        return objective.values(outputs, of_classes(seen, self.tail))["total"]
