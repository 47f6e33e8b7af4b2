"""SimCal's dual head: a calibrated copy of the trained classifier predicts rare classes, the classifier itself the others."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Head, Part
from ltrun.types import ClassStats


def dual(logits: Tensor, calibrated: Tensor, rare: Tensor) -> Tensor:
    """(B, C): log-probabilities, of rare classes by the calibrated logits, of the rest by the others; not normalised again.

    logits, calibrated: (B, C). rare: (C,) bool.
    """
    return torch.where(rare, F.log_softmax(calibrated, dim=1), F.log_softmax(logits, dim=1))


class DualHead(Head):
    """A trained classifier and a copy of it, which a stage trains further on balanced samples (decoupling=simcal).

    In training mode the logits are the copy's. In evaluation mode the copy predicts the classes with fewer than `below`
    training images, and the trained classifier the others, each by its own softmax. below: 100 is the authors' number for LVIS.

    Wang et al., 2020, arXiv 2007.11978.
    """

    accepts = Part.accepts  # log-softmax
    rare: Tensor

    def __init__(self, below: int = 100, *, head: Head, stats: ClassStats):
        super().__init__()
        if below < 1:
            raise ConfigError(f"below must be at least 1, got {below}")
        self.scale = head.scale
        self.head, self.calibrated = head, deepcopy(head)
        self.register_buffer("rare", stats.counts < below, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        calibrated = self.calibrated(features)
        return calibrated if self.training else dual(self.head(features), calibrated, self.rare)

    @property
    def classes(self) -> Tensor:
        return self.calibrated.classes
