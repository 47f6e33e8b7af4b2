"""DARP: pseudo-labels that are refined until their numbers per class are the wanted ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.transfer.fixmatch import confident, consistency, one_hot, predicted, probability
from ltrun.transfer.pool_shares import Shares, pool_shares
from ltrun.types import ClassStats, Outputs, Streams, View

LEAST = 1e-6
STEPS, TOLERANCE = 50, 1e-9  # of Newton's method, in the multipliers


def without_noise(probabilities: Tensor, wanted: Tensor, delta: float) -> Tensor:
    """(U, C): each column keeps its int(delta * wanted_c) largest entries, scaled to the sum wanted_c; rows normalised.

    1e-6 is added to every entry before. wanted: (C,) images.
    """
    order = probabilities.argsort(dim=0, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device)[:, None].expand_as(order))
    kept = probabilities * (place < (delta * wanted).long())
    scaled = kept * (wanted + LEAST) / (kept.sum(dim=0) + LEAST) + LEAST
    return scaled / scaled.sum(dim=1, keepdim=True)


def refined(probabilities: Tensor, wanted: Tensor, rounds: int) -> Tensor:
    """(U, C): the minimum of sum_i KL(x_i || p_i) / H(p_i) over x whose rows sum to 1 and whose columns sum to `wanted`.

    x_ic is proportional to p_ic * exp(H(p_i) * b_c). Each round normalises the rows, then solves for the multipliers b of the
    columns; the rows are normalised last. probabilities: (U, C) float64, above 0. wanted: (C,), of the sum U, above 0.
    """
    entropy = torch.special.entr(probabilities).sum(dim=1, keepdim=True)
    log_p, target = probabilities.log(), wanted.log()
    multipliers = torch.zeros_like(target)
    for _ in range(rounds):
        rows = log_p - (log_p + entropy * multipliers).logsumexp(dim=1, keepdim=True)
        for _ in range(STEPS):  # on the logarithm of a column's sum, which is convex and increases with its multiplier
            exponents = rows + entropy * multipliers
            slopes = (exponents.softmax(dim=0) * entropy).sum(dim=0)
            step = (target - exponents.logsumexp(dim=0)) / slopes
            multipliers = multipliers + step
            if step.abs().max() < TOLERANCE:
                break
    return (log_p + entropy * multipliers).softmax(dim=1)


class DARP(Term):
    """Distribution-aligning refinery of pseudo-labels: FixMatch whose pseudo-labels have the wanted numbers per class.

    The latest prediction for each unlabelled image is kept. From fraction `start` of the stage on, once an epoch, the kept
    predictions are thinned (`without_noise`) and refined (equation 3 of the paper) to the wanted numbers of images; the
    likeliest class of a refined row is the label of the strong view, where it is at least as likely as the threshold.

    shares: the assumed shares of the unlabelled images, see `Shares`; the authors' pool has the labelled shares or known ones.
    The authors refine every 10 steps and stop Newton's method early; between two epochs it costs little and is solved exactly.
    They average the losses of two strong views.
    An image that was not drawn yet counts as uniform. A class without share is wanted for a millionth of the images. delta: 2
    in the paper. rounds: of the coordinate ascent. The code's default for `start`, all epochs, never refines.

    Kim et al., 2020, arXiv 2007.08844.
    """

    streams = ("weak", "strong")
    acts_from = 1
    predictions: Tensor
    labels: Tensor
    shares: Tensor
    active: Tensor

    def __init__(
        self,
        threshold: float = 0.95,
        start: float = 0.4,
        delta: float = 2.0,
        rounds: int = 10,
        shares: Shares = "complement",
        *,
        stats: ClassStats,
        unlabelled: int,
    ):
        super().__init__()
        if not 0 <= start <= 1:
            raise ConfigError(f"start must be a fraction of the stage, from 0 to 1, got {start}")
        if delta <= 0 or rounds < 1:
            raise ConfigError(f"delta must be above 0 and rounds at least 1, got {delta} and {rounds}")
        self.threshold, self.start, self.delta, self.rounds = probability(threshold), start, delta, rounds
        found = pool_shares(stats.counts, shares).clamp(min=LEAST)
        self.register_buffer("shares", found / found.sum(), persistent=False)
        for name in ("predictions", "labels"):
            self.register_buffer(name, torch.full((unlabelled, stats.num_classes), 1 / stats.num_classes))
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:
        if view.clock.passed(self.start):
            self.active.fill_(True)
            wanted = self.shares * len(self.predictions)
            thinned = without_noise(self.predictions.double(), wanted, self.delta)
            self.labels.copy_(refined(thinned, wanted, self.rounds))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        found = predicted(outputs["weak"])
        found = torch.where(self.active, self.labels[streams["weak"].rows].to(found.dtype), found)
        return consistency(widened(outputs["strong"].need("logits")), one_hot(found), confident(found, self.threshold))

    @torch.no_grad()
    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        self.predictions[streams["weak"].rows] = predicted(outputs["weak"]).to(self.predictions)
