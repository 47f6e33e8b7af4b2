"""LWS: a learnable scale per class on a frozen classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.parts import Head, Part


class LWS(Head):
    """Learnable weight scaling: logits_c = scales_c * head(features)_c, which scales the head's bias too. Scales start at 1.

    In LWS the stage freezes the wrapped head (decoupling=lws); MiSLAS trains both.

    Kang et al., 2020, arXiv 1910.09217.
    """

    accepts = Part.accepts  # a factor of a class leaves the order of its scores
    keeps = frozenset({"head", "products"})

    def __init__(self, *, head: Head):
        super().__init__()
        self.scale = head.scale
        self.head = head
        self.scales = nn.Parameter(torch.ones_like(head.classes[:, 0]))

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * self.head(features)

    @property
    def classes(self) -> Tensor:
        return self.scales[:, None] * self.head.classes
