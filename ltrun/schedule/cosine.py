"""Cosine schedule of the learning rate."""

import math

from ltrun.errors import ConfigError
from ltrun.schedule.warmup import check_warmup, warmup_factor
from ltrun.types import Clock, fraction_of


class Cosine:
    """Linear warm-up, then half a cosine from 1 towards 0, reached one epoch after the last.

    The same as in MiSLAS; classifier-balancing steps its scheduler before the first epoch and so is one epoch ahead.

    Loshchilov and Hutter, 2017, arXiv 1608.03983.
    """

    def __init__(self, epochs: int = 200, warmup: float = 0.0, warmup_start: float = 0.0):
        if epochs < 1:
            raise ConfigError(f"epochs must be at least 1, got {epochs}")
        check_warmup(warmup, warmup_start)
        self.epochs, self.warmup, self.warmup_start = epochs, warmup, warmup_start

    def factor(self, clock: Clock) -> float:
        warming = warmup_factor(clock, self.warmup, self.warmup_start)
        if warming is not None:
            return warming
        begin = fraction_of(clock.epochs, self.warmup)
        return 0.5 * (1 + math.cos(math.pi * (clock.epoch - begin) / (clock.epochs - begin)))
