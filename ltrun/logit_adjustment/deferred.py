"""Deferred logit adjustment: the logits are left alone in the first part of a stage."""

import torch
from torch import Tensor

from ltrun.parts import Adjust
from ltrun.reweighting.deferred import fraction_of_stage
from ltrun.types import Outputs, View


class Deferred(Adjust):
    """The logits as they are up to a fraction of the stage, then as `then`, any logit adjustment or margin, has them.

    start = 0.8 is epoch index 160 of 200, as in reweighting=drw, and scales with the length of the stage. What `then` learns
    in passing it learns from the first step on.

    Zhang et al., 2021 (Bag of Tricks), AAAI 2021.
    """

    acts_from = 1
    active: Tensor

    def __init__(self, then: Adjust, start: float = 0.8):
        super().__init__()
        self.then, self.start = then, fraction_of_stage(start)
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:  # of itself alone: the trainer adapts nested parts too
        self.active.fill_(view.clock.passed(self.start))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return torch.where(self.active, self.then(logits, labels, outputs), logits)
