"""Masked power sampling: a class drawn by a power of its count, then one of its rows, whose other labels do not count."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Sampler
from ltrun.resampling.power import draw_rows, power_probabilities
from ltrun.types import Clock, MultiHot


def draw_masked(hot: Tensor, q: float, length: int, generator: torch.Generator) -> Tensor:
    """(length, 2): rows and the class for which each was drawn. hot: (N, C) bool. Classes without rows are never drawn."""
    classes, rows = hot.t().nonzero().unbind(1)  # every label of every row, class by class
    drawn = draw_rows(classes, power_probabilities(torch.bincount(classes), q), length, generator)
    return torch.stack([rows[drawn], classes[drawn]], dim=1)


class MaskedPower(Sampler):
    """Draws a class with probability n_c ** q / sum n ** q, then one of its rows, with replacement; len(targets) rows an epoch.

    A row drawn for one of its classes counts in the loss for that class and for those that it does not show: its other labels
    are left out, so that they do not bring frequent classes back. q = 0 is class-balanced sampling (CBS), 0.5 square-root
    sampling (SRS).

    Zhang et al., 2021 (VideoLT), arXiv 2105.02668; q = 0.5: Mahajan et al., 2018, arXiv 1805.00932.
    """

    accepts = frozenset({MULTI_LABEL})
    balances = True

    def __init__(self, q: float = 0.0):
        super().__init__()
        self.q = q

    def draw(self, targets: MultiHot, clock: Clock, generator: torch.Generator) -> Tensor:
        return draw_masked(targets.labels.to(generator.device), self.q, len(targets), generator)
