"""De-confounded classifier: multi-head cosine logits, for total direct effect (TDE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Head


def unit_per_head(x: Tensor, num_heads: int) -> Tensor:
    """(N, D): each of the `num_heads` equal pieces of a row of x (N, D) scaled to length 1."""
    return F.normalize(x.unflatten(1, (num_heads, -1)), dim=2).flatten(1)


def damped_per_head(x: Tensor, num_heads: int, gamma: float) -> Tensor:
    """(N, D): each piece of a row divided by its length + gamma, so that a short piece stays short."""
    pieces = x.unflatten(1, (num_heads, -1))
    return (pieces / (pieces.norm(dim=2, keepdim=True) + gamma)).flatten(1)


class Causal(Head):
    """De-confounded classifier: logits = tau / num_heads * sum over heads of cosines, damped for short class weights.

    Features and class weights are cut into `num_heads` pieces each; a feature's piece is divided by its length, a class
    weight's piece by its length + gamma. No bias. `classes` holds the divided weights, and the scale is tau / num_heads. It
    trains like any other classifier; `posthoc=tde` adds the row with the head classes' advantage subtracted.

    Tang et al., 2020, arXiv 2009.12991.
    """

    provides = frozenset({"heads of cosines"})

    def __init__(self, num_heads: int = 2, tau: float = 16.0, gamma: float = 0.03125, *, features: int, num_classes: int):
        super().__init__()
        if num_heads < 1 or features % num_heads:
            raise ConfigError(f"num_heads must divide the {features} features of the network, got {num_heads}")
        if tau <= 0 or gamma < 0:
            raise ConfigError(f"tau must be above 0 and gamma at least 0, got {tau} and {gamma}")
        self.num_heads, self.gamma = num_heads, gamma
        self.scale = tau / num_heads
        self.weight = nn.Parameter(torch.empty(num_classes, features).uniform_(-(features**-0.5), features**-0.5))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * unit_per_head(features, self.num_heads) @ self.classes.T

    @property
    def classes(self) -> Tensor:
        return damped_per_head(self.weight, self.num_heads, self.gamma)
