"""Cosine classifier with a learnt scale and a bias."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.classifier.cosine import cosine
from ltrun.errors import ConfigError
from ltrun.parts import Head


class LearntCosine(Head):
    """logits = softplus(s) * cosine(feature, class weight) + bias, with s and the bias learnt; softplus(s) starts at `start`.

    The classifier of class-balanced distillation. Its scale changes, so margins on cosines, which need a fixed scale, refuse
    it. A re-implementation normalises weights over the classes; here, as in the paper, each class's weights have length 1.

    Iscen et al., 2021, arXiv 2104.05279.
    """

    def __init__(self, start: float = 10.0, *, features: int, num_classes: int):
        super().__init__()
        if not 1e-3 <= start <= 1e3:
            raise ConfigError(f"start must lie between 0.001 and 1000, got {start}")
        self.weight = nn.Parameter(F.normalize(torch.empty(features, num_classes).uniform_(-1, 1), dim=0))
        self.bias = nn.Parameter(torch.zeros(num_classes))
        self.raw_scale = nn.Parameter(torch.tensor(start + math.log(-math.expm1(-start))))  # the inverse of softplus

    def forward(self, features: Tensor) -> Tensor:
        return F.softplus(self.raw_scale) * cosine(features, self.weight) + self.bias

    @property
    def classes(self) -> Tensor:
        return self.weight.T
