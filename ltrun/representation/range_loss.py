"""Range loss: a penalty on the largest distances within the classes of a batch, and on its two nearest class centres."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.types import Outputs, Streams

LEAST = 1e-12  # squared distance below which two rows count as one


def squared_distances(rows: Tensor) -> Tensor:
    """(B, B): squared Euclidean distances between rows (B, D); exact only up to rounding, so for comparisons."""
    lengths = rows.square().sum(dim=1)
    return lengths[:, None] + lengths - 2 * rows @ rows.T


def largest_ranges(features: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest squared distances between two rows of a class, for the class of each row, and which of them there are.

    features: (B, D). labels: (B,). Both results: (B, k). A class with fewer than k pairs has all of its pairs.
    """
    count = len(labels)
    first, second = torch.triu_indices(count, count, offset=1, device=labels.device)
    with torch.no_grad():
        apart = squared_distances(features)[first, second]
        group = torch.where(labels[first] == labels[second], labels[first], -1)  # pairs of two classes come first
        order = apart.argsort(descending=True)
        order = order[group[order].argsort(stable=True)]
    ranked = group[order]
    start = torch.searchsorted(ranked, labels.contiguous())
    end = torch.searchsorted(ranked, labels.contiguous(), right=True)
    places = start[:, None] + torch.arange(k, device=labels.device)
    pairs = order[places.clamp(max=len(order) - 1)]
    return (features[first[pairs]] - features[second[pairs]]).square().sum(dim=2), places < end[:, None]


def intra(features: Tensor, labels: Tensor, k: int) -> Tensor:
    """A scalar: the sum over the classes of a batch of the harmonic mean of their k largest squared distances.

    A class with one row adds nothing. features: (B, D). labels: (B,).
    """
    if len(labels) < 2:
        return 0 * features.sum()
    distances, known = largest_ranges(features, labels, k)
    number = known.sum(dim=1)
    inverse = torch.where(known, 1 / distances.clamp(min=LEAST), 0.0).sum(dim=1)
    means = number / (inverse + (number == 0))
    rows = (labels[:, None] == labels).sum(dim=1)
    return (means / rows).sum()  # each class once, though each of its rows has its mean


def nearest_centres(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest squared distance between the means of two classes of a batch, and whether there are two classes: scalars."""
    same = (labels[:, None] == labels).to(features.dtype)
    centres = same @ features / same.sum(dim=1, keepdim=True)
    apart = squared_distances(centres.detach()).masked_fill(same > 0, torch.inf)
    place = apart.flatten().argmin()
    one, other = (centres.index_select(0, row.view(1)) for row in (place // len(labels), place % len(labels)))
    return (one - other).square().sum(), (same == 0).any()


def range_loss(
    features: Tensor, labels: Tensor, k: int = 2, margin: float = 20.0, alpha: float = 1.0, beta: float = 1.0
) -> Tensor:
    """A scalar: alpha * `intra` + beta * max(0, margin - the squared distance of the two nearest class centres)."""
    distance, several = nearest_centres(features, labels)
    inter = torch.where(several, (margin - distance).clamp(min=0), 0.0)
    return alpha * intra(features, labels, k) + beta * inter


class RangeLoss(Term):
    """Range loss: makes classes compact and their centres distant, within the batch, so that rare classes count as much.

    The harmonic mean of the k largest squared distances between two images of a class, summed over the classes of the batch,
    is added with weight alpha; the amount by which the squared distance of the two nearest class centres falls short of
    `margin`, with weight beta. A class with fewer than k pairs of images has all of them, and one image alone adds nothing;
    the authors' batches have enough images of each class.

    Zhang et al., 2017, arXiv 1611.08976.
    """

    reads = frozenset({"features"})
    mixed = False

    def __init__(self, k: int = 2, margin: float = 20.0, alpha: float = 1.0, beta: float = 1.0):
        super().__init__()
        if k < 1:
            raise ConfigError(f"k must be at least 1, got {k}")
        for name, value in {"margin": margin, "alpha": alpha, "beta": beta}.items():
            if value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")
        self.k, self.margin, self.alpha, self.beta = k, margin, alpha, beta

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        features, labels = widened(outputs["main"].need("features")), streams["main"].targets.labels
        return range_loss(features, labels, self.k, self.margin, self.alpha, self.beta)
