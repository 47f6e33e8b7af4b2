"""Meta-embedding classifier of OLTR: features enriched by a memory of class centroids, scored by a damped cosine."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Head, Part
from ltrun.types import View

CHUNK = 250  # images that pass through the network at once
LEAST = 1e-12  # of a length, below which a feature lies on a centroid


def reachability(features: Tensor, centroids: Tensor, reach: float) -> Tensor:
    """(B, 1): reach over the distance from each feature (B, D) to the nearest centroid (C, D)."""
    with torch.no_grad():
        apart = centroids.square().sum(dim=1) - 2 * features @ centroids.T
        nearest = centroids[apart.argmin(dim=1)]
    return reach / (features - nearest).square().sum(dim=1, keepdim=True).clamp(min=LEAST).sqrt()


def damped_cosine(features: Tensor, weight: Tensor, scale: float) -> Tensor:
    """(B, C): scale * |x| / (1 + |x|) * the cosine between x and each class weight. features: (B, D). weight: (C, D)."""
    length = features.square().sum(dim=1, keepdim=True).clamp(min=LEAST**2).sqrt()
    return scale * (features / (1 + length)) @ F.normalize(weight, dim=1).T


class MetaEmbedding(Head):
    """OLTR's classifier: adds to a feature what a memory of class centroids holds on its likeliest classes.

    The wrapped classifier, trained in the first stage, says how much of each centroid enters; a learnt selector says in
    which of the D dimensions. The sum is multiplied by `reach` over the distance to the nearest centroid: images near a
    centroid have longer features, and so sharper logits, than images far from all. The logits are `scale` times a
    cosine, damped for short features.

    The centroids start as the class means of the features of all training images, as they are without augmentation; a class
    without images has the mean of all. Only `DiscriminativeCentroids` trains them. A feature on a centroid, whose reachability
    is infinite in the authors' code, counts as 1e-6 away from it.

    Liu et al., 2019, arXiv 1904.05160.
    """

    accepts = Part.accepts  # centroids are means of the images with the label
    provides = frozenset({"head", "memory"})
    filled: Tensor

    def __init__(self, scale: float = 16.0, reach: float = 10.0, *, head: Head):
        super().__init__()
        if scale <= 0 or reach <= 0:
            raise ConfigError(f"scale and reach must be above 0, got {scale} and {reach}")
        classes, features = head.classes.shape
        self.gain, self.reach = scale, reach
        self.head = head
        self.selector = nn.Linear(features, features)
        bound = features**-0.5
        self.weight = nn.Parameter(torch.empty(classes, features).uniform_(-bound, bound))
        self.centroids = nn.Parameter(torch.zeros(classes, features))
        self.register_buffer("filled", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        """Fills the memory before the first epoch."""
        if self.filled:
            return
        sums, known = torch.zeros_like(self.centroids), view.labels.to(self.centroids.device)
        for rows in torch.arange(len(known)).split(CHUNK):
            features = widened(view.predict(view.open(rows).inputs).need("features"))
            sums.index_add_(0, known[rows], features.to(sums.dtype))
        counts = torch.bincount(known, minlength=len(sums))[:, None]
        self.centroids.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), sums.sum(dim=0) / len(known)))
        self.filled.fill_(True)

    def infused(self, features: Tensor) -> Tensor:
        """(B, D): what the memory adds to features (B, D): the centroids of the likeliest classes, times the selector."""
        return self.selector(features).tanh() * (self.head(features).softmax(dim=1) @ self.centroids.detach())

    def forward(self, features: Tensor) -> Tensor:
        reachable = reachability(features, self.centroids.detach(), self.reach)
        return damped_cosine(reachable * (features + self.infused(features)), self.weight, self.gain)

    @property
    def classes(self) -> Tensor:
        return self.weight
