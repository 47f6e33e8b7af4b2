"""TLC's loss: evidential experts, each on the images that the experts before it leave uncertain."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.ensemble.ride import class_temperature
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network.trustworthy import engagement
from ltrun.parts import Term
from ltrun.targets import one_label
from ltrun.types import ClassStats, Labels, Outputs, Streams, View

LARGE = 1e3  # from here on the next term of Stirling's series is below 1e-12
MOST = 30.0  # the largest logit that counts as evidence: e ** 30, which a cosine head of scale 30 never exceeds


def misleading_evidence(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,): KL(Dir(alpha) || Dir(1)) with alpha = e ** logit + 1, but 1 for the label. logits: (B, C). labels: (B,).

    The usual form subtracts terms of 10 ** 14 from each other, which leaves a tenth even in float64. With S the sum of alpha
    and h = `_slow`, it is h(S) - sum of h(alpha) + (C - 1) digamma(S) - ln gamma(C): terms that grow as ln S.
    """
    wrong = 1 - F.one_hot(labels, logits.shape[1]).double()
    alpha = wrong * logits.double().clamp(max=MOST).exp() + 1
    total, classes = alpha.sum(dim=1), alpha.shape[1]
    return _slow(total) - _slow(alpha).sum(dim=1) + (classes - 1) * torch.digamma(total) - math.lgamma(classes)


def _slow(x: Tensor) -> Tensor:
    """ln gamma(x) - (x - 1) digamma(x) + x, which grows as ln(x) / 2; from `LARGE` on by Stirling's series."""
    small, large = x.clamp(max=LARGE), x.clamp(min=LARGE)
    series = large.log() / 2 + (math.log(2 * math.pi) + 1) / 2 - 1 / (3 * large) - 1 / (12 * large**2) - 1 / (90 * large**3)
    return torch.where(x < LARGE, torch.lgamma(small) - (small - 1) * torch.digamma(small) + small, series)


def divergence(logits: Tensor, target: Tensor, temperature: Tensor) -> Tensor:
    """(B,): mean(T) ** 2 * KL(softmax(target / T) || softmax(logits / T)). The target gets no gradient. T: (C,)."""
    log, goal = F.log_softmax(logits / temperature, dim=1), F.softmax(target.detach() / temperature, dim=1)
    return temperature.mean().square() * F.kl_div(log, goal, reduction="none").sum(dim=1)


class TLC(Term):
    """Trustworthy long-tailed classification: sums over experts the loss of the images on which each is engaged.

    An image's loss for an expert is the run's classification loss, here margin=ldam and reweighting=drw; plus the divergence of
    the evidence for wrong classes from none, whose weight grows evenly from 0 to `evidence` at the end; minus `diversity` times
    the divergence of the expert from the combined prediction, with a temperature that is lower for rarer classes from fraction
    `start` of the stage on. An expert is engaged on images whose weight, which falls with the certainty of the experts before,
    is above `threshold` of the largest in the batch; see `Trustworthy`. The classification loss has the divisor of the run's
    class weights; the authors divide by the number of images alone.

    Li et al., 2022, arXiv 2111.09030.
    """

    reads = frozenset({"experts", "logits"})
    temperature: Tensor
    temperatures: Tensor
    share: Tensor

    def __init__(
        self,
        evidence: float = 0.015152,
        diversity: float = 0.01,
        threshold: float = 0.54,
        reweight_factor: float = 0.05,
        start: float = 0.8,
        *,
        stats: ClassStats,
        classify: Classification,
    ):
        super().__init__()
        if evidence < 0:
            raise ConfigError(f"evidence must not be negative, got {evidence}")
        if not 0 <= threshold < 1:
            raise ConfigError(f"threshold must be at least 0 and below 1, got {threshold}")
        if not 0 <= reweight_factor <= 1 or not 0 <= start <= 1:
            raise ConfigError(f"reweight_factor and start must lie between 0 and 1, got {reweight_factor} and {start}")
        self.evidence, self.diversity, self.threshold, self.start = evidence, diversity, threshold, start
        self.classify = classify
        later = class_temperature(stats, 1.0, reweight_factor).float()
        self.register_buffer("temperatures", torch.stack([torch.ones_like(later), later]), persistent=False)
        self.register_buffer("temperature", self.temperatures[0].clone())
        self.register_buffer("share", torch.zeros(()))

    def adapt(self, view: View) -> None:
        self.temperature.copy_(self.temperatures[int(view.clock.passed(self.start))])
        self.share.fill_(self.evidence * (view.clock.epoch + 1) / view.clock.epochs)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        experts = output.need("experts")
        weights = engagement(experts.detach())
        indices, shares = targets.index.unbind(1), targets.weight.unbind(1)
        losses = []
        for logits, weight in zip(experts, weights, strict=True):
            engaged = (weight / weight.max() > self.threshold).to(logits)
            own = Labels(targets.index, targets.weight * engaged[:, None])
            base = self.classify.loss(logits, own, output) * len(engaged)
            rows = torch.stack(
                [share * misleading_evidence(logits, index) for index, share in zip(indices, shares, strict=True)]
            )
            rows = self.share * rows.sum(dim=0)
            rows = rows - self.diversity * divergence(logits, output.need("logits"), self.temperature)
            losses.append((base + (engaged * rows).sum()) / engaged.sum())
        return torch.stack(losses).sum().to(experts)
