"""Deferred re-weighting (DRW): weights or criteria that start in the last part of a stage."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Criterion, Weigh
from ltrun.reweighting.sigmoid import binary_cross_entropies
from ltrun.types import Outputs, View


def fraction_of_stage(start: float) -> float:
    """Returns start. Raises ConfigError unless it is from 0 to 1."""
    if not 0 <= start <= 1:
        raise ConfigError(f"start must be a fraction of the stage, from 0 to 1, got {start}")
    return start


class Deferred(Weigh):
    """Deferred re-weighting, DRW: all weights are 1 up to a fraction of the stage; after it `then`, any weights, gives them.

    start = 0.8 is epoch index 160 of 200, as in LDAM-DRW, and scales with the length of the stage; the authors' code has
    `epoch // 160`, which does not scale and fails from epoch 320 on. `mean` is `then`'s from the first epoch on.

    Cao et al., 2019, arXiv 1906.07413.
    """

    accepts = BOTH
    acts_from = 1
    active: Tensor

    def __init__(self, then: Weigh, start: float = 0.8):
        super().__init__()
        self.then, self.start = then, fraction_of_stage(start)
        self.mean, self.mean_of_entries = then.mean, then.mean_of_entries
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:  # only its own buffer: the trainer adapts nested parts too
        self.active.fill_(view.clock.passed(self.start))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return torch.where(self.active, self.then(logits, labels, outputs), 1.0)


class DeferredCriterion(Criterion):
    """Deferred criterion: cross-entropy up to a fraction of the stage, then the criterion `then`; start as in Deferred.

    `mean` is `then`'s from the first epoch on.

    Zhang et al., 2021 (Bag of Tricks), AAAI 2021.
    """

    accepts = BOTH
    acts_from = 1
    active: Tensor

    def __init__(self, then: Criterion, start: float = 0.8):
        super().__init__()
        self.then, self.start = then, fraction_of_stage(start)
        self.mean = then.mean
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:
        self.active.fill_(view.clock.passed(self.start))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        if labels.ndim == 2:
            plain = binary_cross_entropies(logits, labels)
        else:
            plain = F.cross_entropy(logits, labels, reduction="none")
        return torch.where(self.active, self.then(logits, labels, outputs), plain)
