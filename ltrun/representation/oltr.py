"""Discriminative centroids of OLTR: the term that trains the memory of the meta-embedding classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from ltrun.classifier.meta_embedding import MetaEmbedding
from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Network, Term
from ltrun.types import Outputs, Streams


def attraction(features: Tensor, centroids: Tensor, labels: Tensor) -> Tensor:
    """(B,): half the squared distance of each feature (B, D) to the centroid (C, D) of its label (B,)."""
    return (features - centroids[labels]).square().sum(dim=1) / 2


def repulsion(features: Tensor, centroids: Tensor, labels: Tensor, margin: float = 10.0) -> Tensor:
    """A scalar: max(0, margin - the sum of the squared distances to the centroids of other classes / (B C))."""
    squares = features.square().sum(dim=1, keepdim=True) + centroids.square().sum(dim=1) - 2 * features @ centroids.T
    own = (features - centroids[labels]).square().sum()
    return (margin - (squares.sum() - own) / squares.numel()).clamp(min=0)


def discriminative_centroids(
    features: Tensor, centroids: Tensor, labels: Tensor, weight: float = 0.01, repel: float = 0.01, margin: float = 10.0
) -> Tensor:
    """A scalar: weight * (the mean of `attraction` + repel * `repulsion`), with the authors' gradient of the centroids.

    The attraction moves a centroid by its gradient without `weight`, divided by 1 + the number of its class's rows; all other
    gradients are those of the value.
    """
    rows = (labels[:, None] == labels).sum(dim=1)
    value = attraction(features, centroids.detach(), labels).mean() + repel * repulsion(features, centroids, labels, margin)
    moving = (attraction(features.detach(), centroids, labels) / (1 + rows)).mean()
    return weight * value + (moving - moving.detach())


class DiscriminativeCentroids(Term):
    """Draws features to the centroid of their class and the centroids from the features of other classes.

    The centroids are those of `MetaEmbedding`. weight: of the whole term; in the authors' gradient it does not reach the
    attraction of the centroids, which the number of the class's images in the batch divides instead. repel: weight of the
    repulsion, whose mean squared distance has `margin` as its goal.

    Liu et al., 2019, arXiv 1904.05160.
    """

    reads = frozenset({"features", "head", "memory"})
    mixed = False

    def __init__(self, weight: float = 0.01, repel: float = 0.01, margin: float = 10.0, *, network: Network):
        super().__init__()
        for name, value in {"weight": weight, "repel": repel, "margin": margin}.items():
            if value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")
        self.weight, self.repel, self.margin = weight, repel, margin
        self.held = (network,)  # a plain tuple, because the network saves its own parameters

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        (network,) = self.held
        head = cast(MetaEmbedding, network.get_submodule(network.head_names()[0]))
        features, labels = widened(outputs["main"].need("features")), streams["main"].targets.labels
        return discriminative_centroids(features, head.centroids, labels, self.weight, self.repel, self.margin)
