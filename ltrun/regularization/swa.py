"""SWA: the equal average of the weights at the ends of a stage's last epochs."""

from __future__ import annotations

from ltrun.errors import ConfigError
from ltrun.parts import Average
from ltrun.types import Clock


class SWA(Average):
    """Stochastic weight averaging: the mean of the weights after each epoch from a fraction `start` of the stage on.

    Before its evaluation, batch normalisation of the averaged network gets the mean statistics of an epoch's training images.
    The authors' rate falls to a constant half of its first value before `start`: schedule=swa.

    Izmailov et al., 2018, arXiv 1803.05407.
    """

    acts_from = 1

    def __init__(self, start: float = 0.75):
        super().__init__()
        if not 0 <= start < 1:
            raise ConfigError(f"start must be at least 0 and below 1, got {start}")
        self.start = start

    def share(self, clock: Clock) -> float | None:
        if not clock.passed(self.start):
            return None
        first = next(epoch for epoch in range(clock.epochs) if Clock(clock.stage, epoch, clock.epochs).passed(self.start))
        return 1 / (1 + clock.epoch - first)
