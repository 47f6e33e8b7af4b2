"""Deferred re-sampling (DRS): instance-balanced sampling first, another sampler in the last part of a stage."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.resampling.instance import Instance
from ltrun.types import Clock, Targets

INSTANCE = Instance()  # has no state, so every Deferred can share it


class Deferred(Sampler):
    """Deferred re-sampling, DRS: samples with `before` up to a fraction of the stage, and with `then` after it.

    start = 0.8 is epoch index 160 of 200, where BagofTricks-LT and LDAM-DRW switch, and scales with the length of the stage.
    `then` sees the clock of the stage: progressively balanced sampling that starts at 0.8 is already four fifths of the way to
    class-balanced, as in BagofTricks-LT, and does not restart from the class counts.

    Cao et al., 2019, arXiv 1906.07413; Zhang et al., 2021 (Bag of Tricks), AAAI 2021.
    """

    accepts = BOTH
    acts_from = 1

    def __init__(self, then: Sampler, before: Sampler = INSTANCE, start: float = 0.8):
        super().__init__()
        if not 0 <= start <= 1:
            raise ConfigError(f"start must be a fraction of the stage, from 0 to 1, got {start}")
        self.then, self.before, self.start = then, before, start

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        sampler = self.then if clock.passed(self.start) else self.before
        return sampler.draw(targets, clock, generator)
