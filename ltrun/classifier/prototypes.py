"""Prototype classifier: squared distances between features and one learnt prototype for each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.parts import Head, Part


def distance_logits(features: Tensor, prototypes: Tensor, scale: float) -> Tensor:
    """(B, C): -scale * the squared Euclidean distance between features (B, D) and prototypes (C, D)."""
    lengths = features.square().sum(dim=1, keepdim=True) + prototypes.square().sum(dim=1)
    return scale * (2 * features @ prototypes.T - lengths)


class Prototypes(Head):
    """logits = -scale * squared distance between the feature and the class's learnt prototype.

    This is the posterior of classes that are spherical Gaussians of variance 1 / (2 scale) around their prototypes. The
    softmax is that of a linear layer whose biases are tied to the lengths of its weights, so that a frequent class cannot
    win by a bias; it still can by a far prototype. The prototypes start as the weights of a linear
    classifier do.

    Yang et al., 2018, arXiv 1805.03438.
    """

    accepts = Part.accepts  # logits are negative, so that no sigmoid is above 0.5

    def __init__(self, scale: float = 0.5, *, features: int, num_classes: int):
        super().__init__()
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        self.distance_scale = scale
        self.prototypes = nn.Parameter(torch.empty(num_classes, features))
        nn.init.kaiming_normal_(self.prototypes)

    def forward(self, features: Tensor) -> Tensor:
        return distance_logits(features, self.prototypes, self.distance_scale)

    @property
    def classes(self) -> Tensor:
        return self.prototypes
