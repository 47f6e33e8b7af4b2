"""Running means and covariances of the features of each class, and what covariances add to the logits of a loss."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.targets import one_label
from ltrun.types import Outputs, Streams

FULL = 2**26  # numbers of full covariances that are kept: 256 MB in float32
Covariance = Literal["full", "diagonal"]


class Moments(NamedTuple):
    """counts: (C,) rows seen. means: (C, D). covariances: (C, D, D), or (C, D) diagonals; biased, divided by the count."""

    counts: Tensor
    means: Tensor
    covariances: Tensor


def joined(old: Moments, features: Tensor, labels: Tensor, share: Tensor) -> Moments:
    """Returns the moments of the rows seen so far and of N more rows. A class without new rows keeps its moments.

    features: (N, D). labels: (N,). share: (N,), how much of a row counts, 1 for a whole row.
    """
    counts, means, covariances = old
    least, full = torch.finfo(features.dtype).tiny, covariances.dim() == 3
    own = torch.where(labels == torch.arange(len(counts), device=labels.device)[:, None], share, 0.0)  # (C, N)
    number = own.sum(dim=1, keepdim=True)
    per_row = own / number.clamp(min=least)
    mean = per_row @ features
    apart = features - mean[labels]
    spread = (per_row @ _squared(apart, full).flatten(1)).view_as(covariances)
    new = number / (counts[:, None] + number).clamp(min=least)  # the share of the new rows, (C, 1)
    weight = new[:, :, None] if full else new
    between = weight * (1 - weight) * _squared(means - mean, full)
    return Moments(
        counts + number[:, 0], (1 - new) * means + new * mean, (1 - weight) * covariances + weight * spread + between
    )


def _squared(vectors: Tensor, full: bool) -> Tensor:
    """(N, D, D) outer products of vectors (N, D) with themselves, or their diagonals (N, D)."""
    return vectors[:, :, None] * vectors[:, None] if full else vectors.square()


def spread_of_logits(head: Tensor, labels: Tensor, covariances: Tensor) -> Tensor:
    """(B, C): (w_j - w_y)^T S_y (w_j - w_y), the variance of z_j - z_y if features of class y have the covariance S_y.

    head: (C, D) class weights w. labels: (B,). covariances: (C, D, D), or (C, D) diagonals.
    """
    own, chosen = head[labels], covariances[labels]
    if covariances.dim() == 3:
        apart = head - own[:, None]  # (B, C, D)
        return ((apart @ chosen) * apart).sum(dim=2)
    # the square of the difference, multiplied out: (B, C, D) would not fit for 8,142 classes and 2,048 features
    scaled = chosen * own
    spread = chosen @ head.square().T - 2 * scaled @ head.T + (scaled * own).sum(dim=1, keepdim=True)
    return spread.masked_fill(labels[:, None] == torch.arange(len(head), device=labels.device), 0.0)


class RunningMoments(nn.Module):
    """The moments of the features that training has seen, as buffers.

    covariance: 'full' keeps (C, D, D); 'diagonal' keeps (C, D), as the authors of ISDA and MetaSAug do on large data sets; null
    is 'full' up to FULL numbers, which 100 classes of a CIFAR ResNet need a hundredth of, else 'diagonal'.
    """

    counts: Tensor
    means: Tensor
    covariances: Tensor

    def __init__(self, classes: int, features: int, covariance: Covariance | None) -> None:
        super().__init__()
        numbers = classes * features**2
        if covariance == "full" and numbers > FULL:
            raise ConfigError(
                f"covariance must be null or 'diagonal' for {classes:,} classes and {features:,} features: full covariances "
                f"have {numbers:,} numbers, and at most {FULL:,} are kept"
            )
        full = covariance == "full" or (covariance is None and numbers <= FULL)
        self.register_buffer("counts", torch.zeros(classes))
        self.register_buffer("means", torch.zeros(classes, features))
        self.register_buffer("covariances", torch.zeros(classes, *[features] * (1 + full)))

    def now(self) -> Moments:
        return Moments(self.counts, self.means, self.covariances)

    def with_batch(self, outputs: Outputs, labels: Tensor) -> Moments:
        """Returns the moments with a batch, each row whole, without storing them and without gradient."""
        features = widened(outputs.need("features").detach())
        return joined(self.now(), features, labels, torch.ones_like(features[:, 0]))

    def with_step(self, outputs: Outputs, streams: Streams) -> Moments:
        """Returns the moments with the main stream of a step; a mixed row counts for each of its labels by its share."""
        targets, features = one_label(streams["main"].targets), widened(outputs.need("features").detach())
        columns = targets.index.shape[1]
        share = targets.weight.to(features.dtype).flatten()
        return joined(self.now(), features.repeat_interleave(columns, dim=0), targets.index.flatten(), share)

    def store(self, moments: Moments) -> None:
        for own, new in zip(self.now(), moments, strict=True):
            own.copy_(new)
