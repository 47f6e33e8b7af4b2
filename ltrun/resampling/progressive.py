"""Progressively balanced sampling: from instance-balanced to class-balanced over a stage."""

import torch
from torch import Tensor

from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.resampling.members import members
from ltrun.resampling.power import draw_rows, power_probabilities
from ltrun.types import Clock, Targets


def progressive_probabilities(counts: Tensor, clock: Clock) -> Tensor:
    """(C,) float64: (1 - t) * instance-balanced + t * class-balanced, with t from 0 in the first epoch to 1 in the last."""
    progress = clock.epoch / max(clock.epochs - 1, 1)
    return (1 - progress) * power_probabilities(counts, 1.0) + progress * power_probabilities(counts, 0.0)


class Progressive(Sampler):
    """Progressively balanced sampling: class probabilities move from the class counts to uniform over the epochs of a stage.

    The mixing weight t is e / (T - 1) in epoch e = 0 ... T - 1, as in the authors' code; their paper prints e / T, which never
    reaches balanced sampling. A stage of one epoch is instance-balanced. An epoch has len(targets) rows, drawn with
    replacement. Of rows with several labels, a class is drawn and then one of its rows, as by `Power`: the first epoch then
    draws a row in proportion to its number of labels, and rows without labels are never drawn.

    Kang et al., 2020, arXiv 1910.09217.
    """

    accepts = BOTH
    balances = True
    acts_from = 1

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        rows, classes = members(targets, generator)
        return rows[draw_rows(classes, progressive_probabilities(torch.bincount(classes), clock), len(targets), generator)]
