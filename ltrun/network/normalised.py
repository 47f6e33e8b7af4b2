"""Plain network whose features are normalised by batch before the classifier."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ltrun.network.plain import classify
from ltrun.numerics import in_float32
from ltrun.parts import Backbone, Head, Network, Piece
from ltrun.types import Outputs


class Normalised(Network):
    """images -> backbone -> batch normalisation with learnt scales and offsets -> features -> head -> logits.

    Features of a backbone that ends in a ReLU have no negative entries, and could not point along a simplex.

    Yang et al., 2022, arXiv 2203.09081.
    """

    def __init__(self, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        self.backbone = backbone
        self.norm = nn.BatchNorm1d(backbone.features)
        self.head = make_head(backbone.features)

    def encode(self, inputs: Tensor) -> Tensor:
        return in_float32(self.norm, self.backbone(inputs))

    def pieces(self) -> list[Piece]:
        *body, (place, last) = self.backbone.pieces()
        return [*body, (place, lambda maps: in_float32(self.norm, last(maps)))]

    def decide(self, features: Tensor) -> Outputs:
        return classify(self.head, features)
