"""Plain network: one backbone and one classifier, with or without a projector for contrastive terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.numerics import in_float32, widened
from ltrun.parts import Backbone, Head, Network, Part
from ltrun.types import Outputs


class Plain(Network):
    """images -> backbone -> features -> head -> logits. Each stream has its own batch statistics."""

    def __init__(self, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        self.backbone = backbone
        self.head = make_head(backbone.features)

    def encode(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs)

    def decide(self, features: Tensor) -> Outputs:
        return classify(self.head, features)


class Projected(Network):
    """A plain network with a projector of the features: also provides `embedding` (B, P), unit vectors."""

    provides = Plain.provides | {"embedding"}

    def __init__(self, projector: Projector, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        self.backbone = backbone
        self.head = make_head(backbone.features)
        self.projector = projector

    def encode(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs)

    def decide(self, features: Tensor) -> Outputs:
        return classify(self.head, features, embedding=in_float32(self.projector, features))


class Projector(Part):
    """features (B, D) -> unit vectors (B, out) through `layers` linear layers, each but the last followed by a ReLU.

    hidden: length between the layers; null is D, as in MoCo v2 and PaCo. norm: whether batch normalisation, with the statistics
    of the batch in training, precedes each ReLU, as in BCL, ProCo and GML.

    Chen et al., 2020, arXiv 2003.04297.
    """

    accepts = BOTH

    def __init__(self, hidden: int | None = None, out: int = 128, layers: int = 2, norm: bool = False, *, backbone: Backbone):
        super().__init__()
        width = backbone.features if hidden is None else hidden
        if width < 1 or out < 1:
            raise ConfigError(f"hidden and out must be at least 1, got {hidden} and {out}")
        if layers < 1:
            raise ConfigError(f"layers must be at least 1, got {layers}")
        self.layers = perceptron([backbone.features, *[width] * (layers - 1), out], norm)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.layers(features), dim=1)


def perceptron(widths: Sequence[int], norm: bool = False, tracks: bool = True) -> nn.Sequential:
    """Linear layers of these widths, the input's first, with a ReLU between two of them, and batch normalisation before it if
    `norm`. tracks: whether evaluation uses running statistics in place of the batch's."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after, track_running_stats=tracks)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def classify(head: Head, features: Tensor, embedding: Tensor | None = None) -> Outputs:
    """The outputs of one head on features (B, D), in float32 whatever type the backbone computes in."""
    logits = in_float32(head, features)
    return Outputs(features=widened(features), logits=logits, scale=head.scale, head=head.classes, embedding=embedding)
