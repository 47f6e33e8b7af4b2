"""Tasks: what the labels of a data set are, and how predictions are scored."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ltrun.metrics import Metric
from ltrun.types import ClassStats, Labels, Outputs

Metrics = dict[str, Any]


class Meter(Protocol):
    """Adds up predictions batch by batch, so that no split has to be in memory as a whole."""

    def update(self, scores: Tensor, targets: Labels) -> None:
        """scores: (B, C), higher is likelier. targets: of the same B rows, on the same device."""

    def compute(self) -> Metrics:
        """The task's metrics, of all rows so far."""


class Task(Protocol):
    """name, metrics: as `ltrun.metrics.TASKS` declares them; the first metric selects models and is shown while training."""

    name: str
    metrics: tuple[Metric, ...]

    def stats(self, targets: Labels, names: tuple[str, ...]) -> ClassStats:
        """How many training images each class has."""

    def scores(self, outputs: Outputs) -> Tensor:
        """(B, C): the network's own prediction."""

    def meter(self, stats: ClassStats, many: int, few: int) -> Meter:
        """many, few: the limits of the shot groups."""
