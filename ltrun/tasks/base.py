"""Tasks: the kind of labels of a data set, and the metrics of predictions."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ltrun.metrics import Metric
from ltrun.types import ClassStats, Outputs, Targets

Metrics = dict[str, Any]


class Meter(Protocol):
    """Adds up predictions batch by batch, so that no split has to be in memory as a whole."""

    def update(self, scores: Tensor, targets: Targets) -> None:
        """Adds B rows. scores: (B, C), higher is likelier. targets: labels of the same rows, on the same device."""

    def compute(self) -> Metrics:
        """Returns the task's metrics over all rows so far."""


class Task(Protocol):
    """name, metrics: as `ltrun.metrics.TASKS` declares them; the first metric selects models and is shown while training."""

    name: str
    metrics: tuple[Metric, ...]

    def stats(self, targets: Targets, names: tuple[str, ...]) -> ClassStats:
        """Counts the training images of each class."""

    def scores(self, outputs: Outputs) -> Tensor:
        """Returns (B, C) scores: the network's own prediction."""

    def probabilities(self, scores: Tensor) -> Tensor:
        """Returns the (B, C) probabilities that scores stand for."""

    def stand_in(self, num_classes: int) -> Targets:
        """Returns the targets of a stand-in for data: a row for each class."""

    def meter(self, stats: ClassStats, many: int, few: int) -> Meter:
        """Returns a new meter. many, few: limits of the shot groups."""
