"""Residual fusion: branches that differ in their normalisation of the last maps, with one classifier for all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltrun.backbone import without_neck
from ltrun.errors import ConfigError
from ltrun.network.experts import MOST
from ltrun.numerics import in_float32, widened
from ltrun.parts import Backbone, Head, Network, Piece
from ltrun.types import Outputs


class ResidualFusion(Network):
    """maps of the backbone -> a batch normalisation for each branch -> average pooling -> one head for all branches.

    experts: (E, B, C) logits of each branch; logits and features: their sums over the branches. `head` is not provided, because
    its class weights make the logits of three features, none of which is the sum. The branches cost 2 D parameters each:
    470,388 in all for ResNet-32, three branches and 100 classes. On photographs the authors have a further 1x1 convolution
    in each branch, and tau-normalise the class weights at test time.

    Cui et al., 2021 (ResLT), arXiv 2101.10633.
    """

    provides = frozenset({"features", "logits", "experts"})

    def __init__(self, num_experts: int = 3, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        if not 2 <= num_experts <= MOST:
            raise ConfigError(f"num_experts must lie between 2 and {MOST}, got {num_experts}")
        if len(without_neck(backbone).pieces()) < 2:
            raise ConfigError(f"network: {type(backbone).__name__} has no maps before its features; choose ensemble=none")
        self.backbone = backbone
        self.norms = nn.ModuleList(nn.BatchNorm2d(backbone.features) for _ in range(num_experts))
        self.head = make_head(backbone.features)

    def encode(self, inputs: Tensor) -> Tensor:
        """(E, B, D): the features of each branch."""
        for _, piece in self.pieces():
            inputs = piece(inputs)
        return inputs

    def pieces(self) -> list[Piece]:
        """The backbone's up to its last maps, then the branches."""
        return [*self.backbone.pieces()[:-1], ("features", self._branched)]

    def _branched(self, maps: Tensor) -> Tensor:
        (_, pool) = self.backbone.pieces()[-1]
        return torch.stack([widened(pool(norm(maps))) for norm in self.norms])

    def decide(self, features: Tensor) -> Outputs:
        experts = in_float32(self.head, features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return Outputs(features.sum(dim=0), experts.sum(dim=0), scale=self.head.scale, experts=experts)
