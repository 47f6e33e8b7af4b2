"""Multi-expert network: branches on a shared trunk, each with its own classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.numerics import in_float32, widened
from ltrun.parts import Backbone, Head, Network, Piece
from ltrun.types import Outputs


class Experts(Network):
    """Experts share the backbone up to the block `after`; each has the rest for itself, `width` times as wide, and a head.

    experts: (E, B, C) logits of each expert; logits: their mean; features: (B, E * D), the experts' features side by side,
    because a mean over feature spaces that are not aligned means nothing. There is no single matrix of class weights, so
    `head` is not provided. The defaults are RIDE's and SADE's for CIFAR-100 ("reduce_dimension": 24 and 48 channels, 783,856
    parameters for 3 experts with cosine heads for 100 classes); for CIFAR-10 SADE keeps width 1.

    Wang et al., 2021, arXiv 2010.01809.
    """

    provides = frozenset({"features", "logits", "experts"})

    def __init__(
        self,
        num_experts: int = 3,
        after: str = "layer1",
        width: float = 0.75,
        *,
        backbone: Backbone,
        make_head: Callable[[int], Head],
    ):
        super().__init__()
        if num_experts < 2:
            raise ConfigError(f"num_experts must be at least 2, got {num_experts}")
        self.after = after
        self.trunk, branches = backbone.fork(after, num_experts, width)
        self.branches = nn.ModuleList(branches)
        self.heads = nn.ModuleList(make_head(branch.features) for branch in branches)

    @classmethod
    def places_of(cls, arguments: Mapping[str, Any]) -> list[str]:
        return ["inputs", str(arguments.get("after", "layer1")), "features"]

    def encode(self, inputs: Tensor) -> Tensor:
        """(E, B, D): the features of each expert."""
        return self._branched(self.trunk(inputs))

    def _branched(self, shared: Tensor) -> Tensor:
        return torch.stack([widened(branch(shared)) for branch in self.branches])

    def pieces(self) -> list[Piece]:
        """The trunk, which ends after the block `after`, and the branches."""
        return [(self.after, self.trunk), ("features", self._branched)]

    def decide(self, features: Tensor) -> Outputs:
        experts = torch.stack([in_float32(head, x) for head, x in zip(self.heads, features, strict=True)])
        scale = cast(Head, self.heads[0]).scale
        return Outputs(features=torch.cat(features.unbind(), dim=1), logits=experts.mean(dim=0), scale=scale, experts=experts)
