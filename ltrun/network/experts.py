"""Multi-expert network: branches on a shared trunk, or whole networks side by side, each with its own classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.backbone import INPUTS
from ltrun.errors import ConfigError
from ltrun.numerics import in_float32, widened
from ltrun.parts import Backbone, Head, Network, Piece
from ltrun.types import Outputs

MOST = 6  # experts


class Experts(Network):
    """Experts share the backbone up to the block `after`; each has a rest and a head of its own. after=inputs: whole networks.

    width: channels of an expert's own blocks, times those of the backbone. depth: blocks of each of its own layers, times those
    of the backbone, rounded, at least one. Both: one number for all, or a list with a number for each expert.

    experts: (E, B, C) logits of each expert; logits: their mean; features: (B, D_1 + ... + D_E), the experts' features side by
    side, because a mean over feature spaces that are not aligned means nothing. There is no single matrix of class weights, so
    `head` is not provided. The defaults are RIDE's and SADE's for CIFAR-100 ("reduce_dimension": 24 and 48 channels, 783,856
    parameters for 3 experts with cosine heads for 100 classes); for CIFAR-10 SADE keeps width 1.

    Wang et al., 2021, arXiv 2010.01809.
    """

    provides = frozenset({"features", "logits", "experts"})

    def __init__(
        self,
        num_experts: int = 3,
        after: str = "layer1",
        width: float | list[float] = 0.75,
        depth: float | list[float] = 1.0,
        *,
        backbone: Backbone,
        make_head: Callable[[int], Head],
    ):
        super().__init__()
        if not 2 <= num_experts <= MOST:
            raise ConfigError(f"num_experts must lie between 2 and {MOST}, got {num_experts}")
        self.after = after
        self.trunk, branches = backbone.fork(after, num_experts, width, depth)
        self.branches = nn.ModuleList(branches)
        self.heads = nn.ModuleList(make_head(branch.features) for branch in branches)
        self.lengths = [branch.features for branch in branches]

    @classmethod
    def places_of(cls, arguments: Mapping[str, Any]) -> list[str]:
        return list(dict.fromkeys([INPUTS, str(arguments.get("after", "layer1")), "features"]))

    def encode(self, inputs: Tensor) -> Tensor:
        """(E, B, D): the features of each expert, with zeros behind shorter ones."""
        return self._branched(self.trunk(inputs))

    def _branched(self, shared: Tensor) -> Tensor:
        return stacked([widened(branch(shared)) for branch in self.branches])

    def pieces(self) -> list[Piece]:
        """The trunk, which ends after the block `after`, and the branches."""
        return [*([] if self.after == INPUTS else [(self.after, self.trunk)]), ("features", self._branched)]

    def decide(self, features: Tensor) -> Outputs:
        own = [x[:, :length] for x, length in zip(features, self.lengths, strict=True)]
        experts = torch.stack([in_float32(head, x) for head, x in zip(self.heads, own, strict=True)])
        scale = cast(Head, self.heads[0]).scale
        return Outputs(features=torch.cat(own, dim=1), logits=experts.mean(dim=0), scale=scale, experts=experts)


def stacked(features: Sequence[Tensor]) -> Tensor:
    """(E, B, D): features (B, D_e) of each expert, with zeros behind those shorter than the longest."""
    longest = max(x.shape[1] for x in features)
    return torch.stack([x if x.shape[1] == longest else F.pad(x, (0, longest - x.shape[1])) for x in features])
