"""Deferred logit adjustment: plain logits in the first part of a stage, adjusted ones after it."""

import torch
from torch import Tensor

from ltrun.metrics import BOTH
from ltrun.parts import Adjust
from ltrun.reweighting.deferred import fraction_of_stage
from ltrun.types import Outputs, View


class Deferred(Adjust):
    """Keeps the logits up to a fraction of the stage, then applies `then`, any logit adjustment or margin.

    start = 0.8 is epoch index 160 of 200, as in reweighting=drw, and scales with the length of the stage. Running
    statistics of `then`, such as Seesaw's counts, are updated from the first step on.

    Zhang et al., 2021 (Bag of Tricks), AAAI 2021.
    """

    accepts = BOTH
    acts_from = 1
    active: Tensor

    def __init__(self, then: Adjust, start: float = 0.8):
        super().__init__()
        self.then, self.start = then, fraction_of_stage(start)
        self.register_buffer("active", torch.tensor(False))

    def adapt(self, view: View) -> None:  # only its own buffer: the trainer adapts nested parts too
        self.active.fill_(view.clock.passed(self.start))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return torch.where(self.active, self.then(logits, labels, outputs), logits)
