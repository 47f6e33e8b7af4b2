"""Network with two heads on the same features, of which the second predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from ltrun.numerics import in_float32, widened
from ltrun.parts import Backbone, Head, Network
from ltrun.types import Outputs


class TwoHeads(Network):
    """images -> backbone -> features -> two heads. experts: (2, B, C) logits of the hard and the soft head; logits: the soft's.

    The soft head learns the prediction of a teacher, the hard head the labels. `head` is not provided, because one
    matrix of class weights does not produce both heads' logits.

    Li et al., 2021 (SSD), arXiv 2109.04075.
    """

    provides = frozenset({"features", "logits", "experts"})

    def __init__(self, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(make_head(backbone.features) for _ in range(2))

    @property
    def features(self) -> int:
        return self.backbone.features  # both heads read the same features

    def encode(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs)

    def decide(self, features: Tensor) -> Outputs:
        experts = torch.stack([in_float32(head, features) for head in self.heads])
        return Outputs(features=widened(features), logits=experts[1], scale=cast(Head, self.heads[1]).scale, experts=experts)
