"""Fixed simplex classifier (ETF) and the dot-regression loss of its features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.numerics import widened
from ltrun.parts import Head, Part, Term
from ltrun.types import Outputs, Streams

LEAST = 1e-12  # of a length, below which a feature has no direction


def simplex(num_classes: int, features: int) -> Tensor:
    """(C, D): unit vectors at equal angles, whose cosines are -1 / (C - 1), in a random orientation.

    With fewer features than classes, the unit vectors along a projection of the simplex onto D dimensions.
    """
    columns = torch.linalg.qr(torch.randn(max(num_classes, features), min(num_classes, features)))[0]
    rows = columns.transpose(0, 1 if features >= num_classes else 0)
    return F.normalize(rows - rows.mean(dim=0), dim=1)


class ETF(Head):
    """Simplex equiangular tight frame: logits = features W^T, with W fixed at unit vectors at equal angles, without bias.

    The angles of learnt classifiers of rare classes shrink in long-tailed training; these cannot. The angles are equal if the
    network has at least as many features as there are classes: 128 with network=resnet32_wide. No stage can train this
    classifier alone, because it has no parameters.

    Yang et al., 2022, arXiv 2203.09081.
    """

    accepts = Part.accepts  # equal angles suit one class of each image
    provides = frozenset({"products", "simplex"})
    weight: Tensor

    def __init__(self, *, features: int, num_classes: int):
        super().__init__()
        self.register_buffer("weight", simplex(num_classes, features))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight.T

    @property
    def classes(self) -> Tensor:
        return self.weight


def dot_regression(logits: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """(B,): (z_y - |h|)^2 / (2 |h|), with z_y the label's logit, a product with a unit vector, and |h| the feature's length.

    logits: (B, C). labels: (B,). lengths: (B,), which get no gradient. It is 0 for a feature along its label's vector.
    """
    goal = lengths.detach().clamp(min=LEAST)
    return (logits.gather(1, labels[:, None])[:, 0] - goal).square() / (2 * goal)


class DotRegression(Term):
    """Dot-regression loss, the whole classification loss beside `ETF`: turns each feature towards its class's fixed vector.

    Its gradient pulls along the label's vector and has no part that pushes away from other classes, which for rare classes
    outweighs the pull. Mixed labels count by their share.

    Yang et al., 2022, arXiv 2203.09081.
    """

    reads = frozenset({"features", "logits", "head", "simplex"})

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output = outputs["main"]
        lengths = widened(output.need("features")).detach().norm(dim=1)
        logits = widened(output.need("logits"))
        columns = streams["main"].targets.columns(logits)
        return torch.stack([(dot_regression(c.logits, c.labels, lengths) * c.share).mean() for c in columns]).sum()
