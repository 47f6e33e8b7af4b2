"""Interface of a learning-rate schedule: the protocol that every option of the group meets."""

from __future__ import annotations

from typing import Protocol

from ltrun.types import Clock


class Schedule(Protocol):
    """epochs: the published length of training, which `epochs=` on the command line overrides and scales."""

    epochs: int

    def factor(self, clock: Clock) -> float:
        """The factor of the base learning rate in this epoch, or, if it depends on `clock.within`, in this step."""
