"""The interface of a learning-rate schedule."""

from __future__ import annotations

from typing import Protocol

from ltrun.types import Clock


class Schedule(Protocol):
    """epochs: the published length of training, which `epochs=` on the command line overrides and scales."""

    epochs: int

    def factor(self, clock: Clock) -> float:
        """What the base learning rate is multiplied by in this epoch."""
