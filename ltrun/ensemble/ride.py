"""RIDE's loss: the classification loss of each expert, and a reward for their divergence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.types import ClassStats, Outputs, Streams, View, as_rarest


def class_temperature(stats: ClassStats, temperature: float, reweight_factor: float) -> Tensor:
    """(C,): temperature * v / max(v) with v = C * prior * reweight_factor + 1 - reweight_factor; lower for rarer classes.

    A class without images counts as the rarest class with images.
    """
    prior = as_rarest(stats.counts).double() / stats.counts.sum()
    shape = stats.num_classes * prior * reweight_factor + 1 - reweight_factor
    return temperature * shape / shape.max()


def divergence(experts: Tensor, temperature: Tensor) -> Tensor:
    """mean(T)^2 * sum over experts of KL(softmax(mean logits / T) || softmax(logits / T)), averaged over the batch.

    experts: (E, B, C). temperature: (C,). The mean logits are over all experts and get no gradient.
    """
    mean = F.softmax(experts.detach().mean(dim=0) / temperature, dim=1).expand_as(experts)
    log_experts = F.log_softmax(experts / temperature, dim=2)
    return temperature.mean().square() * F.kl_div(log_experts, mean, reduction="sum") / experts.shape[1]


def ride(experts: Tensor, base: Callable[[Tensor], Tensor], temperature: Tensor, diversity: float) -> Tensor:
    """A scalar: base(logits (B, C)) summed over the experts (E, B, C), plus diversity times their divergence."""
    return torch.stack([base(logits) for logits in experts]).sum() + diversity * divergence(experts, temperature)


class RIDE(Term):
    """RIDE: sums the run's classification loss over experts and adds `diversity` (negative: a reward) times their divergence.

    From fraction `start` of the stage on, the temperature of the divergence is lower for rarer classes. At the same time the
    paper switches to effective-number class weights, here reweighting=drw; its classification loss is LDAM, here margin=ldam.
    diversity: -0.45 is the value of the CIFAR-100 script, -0.2 the code's default. transfer=ride_distillation is the
    distillation from a larger ensemble, decoupling=ride_routing the routing stage ("expert assignment").

    Wang et al., 2021, arXiv 2010.01809.
    """

    reads = frozenset({"experts"})
    temperature: Tensor
    temperatures: Tensor

    def __init__(
        self,
        diversity: float = -0.45,
        temperature: float = 1.0,
        reweight_factor: float = 0.05,
        start: float = 0.8,
        *,
        stats: ClassStats,
        classify: Classification,
    ):
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"temperature must be above 0, got {temperature}")
        if not 0 <= reweight_factor <= 1 or not 0 <= start <= 1:
            raise ConfigError(f"reweight_factor and start must lie between 0 and 1, got {reweight_factor} and {start}")
        self.diversity, self.start, self.classify = diversity, start, classify
        later = class_temperature(stats, temperature, reweight_factor).float()
        self.register_buffer("temperatures", torch.stack([torch.full_like(later, temperature), later]), persistent=False)
        self.register_buffer("temperature", self.temperatures[0].clone())

    def adapt(self, view: View) -> None:
        self.temperature.copy_(self.temperatures[int(view.clock.passed(self.start))])

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], streams["main"].targets
        base = partial(self.classify.loss, targets=targets, outputs=output)
        return ride(output.need("experts"), base, self.temperature, self.diversity)
