"""Cosine classifier: scaled cosines between features and class weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Head


def cosine(features: Tensor, weight: Tensor) -> Tensor:
    """(B, C) cosines between features (B, D) and the columns of weight (D, C)."""
    return F.normalize(features, dim=1) @ F.normalize(weight, dim=0)


class Cosine(Head):
    """logits = scale * cosine(feature, class weight), without bias: the NormedLinear head of LDAM, RIDE and SADE.

    Weights start uniform in [-1, 1], each class scaled to length 1. LDAM-DRW multiplies by the scale inside its loss, after
    the margin; here, as in RIDE, the head multiplies, so a margin of m on the cosine is scale * m on the logit.

    Wang et al., 2018, arXiv 1801.09414; Cao et al., 2019, arXiv 1906.07413.
    """

    provides = frozenset({"cosines"})

    def __init__(self, scale: float = 30.0, *, features: int, num_classes: int):
        super().__init__()
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        self.scale = scale
        self.weight = nn.Parameter(F.normalize(torch.empty(features, num_classes).uniform_(-1, 1), dim=0))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * cosine(features, self.weight)

    @property
    def classes(self) -> Tensor:
        return self.weight.T
