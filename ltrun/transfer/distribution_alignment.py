"""Distribution alignment of pseudo-labels: their shares are moved towards the assumed shares of the unlabelled images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.transfer.fixmatch import confident, consistency, one_hot, predicted, probability
from ltrun.transfer.pool_shares import Shares, pool_shares
from ltrun.types import ClassStats, Outputs, Streams

BATCHES = 128  # whose mean predictions are averaged, as in ReMixMatch
LEAST = 1e-6


def power_of_generation(generation: int, generations: int, least: float) -> float:
    """t: falls linearly from 1 in generation 0 to `least` in the last one."""
    return 1 - generation / max(generations - 1, 1) * (1 - least)


def tempered(shares: Tensor, power: float) -> Tensor:
    """(C,): the normalised power of the shares: the shares if 1, closer to uniform below 1."""
    return shares**power / (shares**power).sum()


def aligned(probabilities: Tensor, mean: Tensor, target: Tensor) -> Tensor:
    """(B, C): probabilities times (target + 1e-6) / (mean + 1e-6), normalised. mean, target: (C,)."""
    scaled = probabilities * (LEAST + target) / (LEAST + mean)
    return scaled / scaled.sum(dim=1, keepdim=True)


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """(B, C): probabilities ** (1 / temperature), normalised; one-hot for temperature 0."""
    if temperature == 0:
        return one_hot(probabilities)
    raised = (probabilities / probabilities.amax(dim=1, keepdim=True)) ** (1 / temperature)
    return raised / raised.sum(dim=1, keepdim=True)


class DistributionAlignment(Term):
    """FixMatch with aligned pseudo-labels, as CReST+: a prediction is multiplied by target share / mean predicted share.

    The target is the normalised power t of the assumed shares; t falls from 1 in generation 0 to `least_power` in the last of
    `generations`. The mean is over the predictions of the last 128 batches, from uniform ones on. The threshold applies to the
    aligned prediction; temperature 0 makes its likeliest class the label, above 0 the label is the sharpened prediction.

    shares: see `Shares`. The authors' unlabelled images have the labelled shares, so powers below 1 favour rare classes; with
    `complement`, whose rare classes are the frequent ones of the pool, they would favour the head: leave least_power at 1.

    Wei et al., 2021, arXiv 2102.09559.
    """

    streams = ("weak", "strong")
    history: Tensor
    target: Tensor

    def __init__(
        self,
        threshold: float = 0.95,
        temperature: float = 0.0,
        shares: Shares = "complement",
        least_power: float = 1.0,
        generation: int = 0,
        generations: int = 1,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        if temperature < 0 or not 0 <= least_power <= 1:
            raise ConfigError(f"temperature must be at least 0 and least_power from 0 to 1, got {temperature}, {least_power}")
        if not 0 <= generation < generations:
            raise ConfigError(f"generation must be from 0 to generations - 1, got {generation} of {generations}")
        self.threshold, self.temperature = probability(threshold), temperature
        power = power_of_generation(generation, generations, least_power)
        target = tempered(pool_shares(stats.counts, shares), power).float()
        self.register_buffer("target", target, persistent=False)
        self.register_buffer("history", torch.full((BATCHES, len(target)), 1 / len(target)))

    def pseudo_labels(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Returns labels (B, C) of the images, and (B,): 1 for those that count, else 0."""
        found = aligned(probabilities, self.history.mean(dim=0), self.target)
        return sharpened(found, self.temperature), confident(found, self.threshold)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        labels, kept = self.pseudo_labels(predicted(outputs["weak"]))
        return consistency(widened(outputs["strong"].need("logits")), labels, kept)

    @torch.no_grad()
    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        newest = predicted(outputs["weak"]).mean(dim=0, keepdim=True)
        self.history.copy_(torch.cat([self.history[1:], newest.to(self.history)]))
