"""Single-label classification: one label per image, top-1 metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.metrics import SINGLE_LABEL, TASKS, Metric, Shots
from ltrun.numerics import finite
from ltrun.tasks.base import Metrics
from ltrun.tasks.calibration import Calibration
from ltrun.types import ClassStats, Labels, Outputs, Targets


class SingleLabel:
    """One label per image; the class with the highest score is predicted."""

    name = SINGLE_LABEL
    metrics: tuple[Metric, ...] = TASKS[SINGLE_LABEL]

    def stats(self, targets: Targets, names: tuple[str, ...]) -> ClassStats:
        return ClassStats.of(targets, len(names), names)

    def scores(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits")

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.softmax(1)

    def stand_in(self, num_classes: int) -> Labels:
        return Labels.hard(torch.arange(num_classes))

    def meter(self, stats: ClassStats, many: int, few: int) -> Top1Meter:
        return Top1Meter(stats, many, few)


class Top1Meter:
    """Top-1 metrics as fractions of 1, added up batch by batch.

    accuracy is over images, macro the mean over the classes that have test images, many/medium/few the same mean within a
    shot group; a group without such classes is None, never 0.
    """

    def __init__(self, stats: ClassStats, many: int, few: int) -> None:
        self.stats, self.many, self.few = stats, many, few
        self.images, self.correct = torch.zeros(2, stats.num_classes, dtype=torch.float64)
        self.calibration = Calibration()

    def update(self, scores: Tensor, targets: Targets) -> None:
        """Adds B rows. scores: (B, C), on the host. Raises TrainingError for scores that are not finite; minus infinity is
        allowed, and rules a class out."""
        if not finite(scores):
            raise TrainingError("the network's scores are not finite: it diverged in its last steps. Lower optimizer.lr")
        labels, classes = targets.labels, self.stats.num_classes
        self.images += torch.bincount(labels, minlength=classes)
        self.correct += torch.bincount(labels[scores.argmax(1) == labels], minlength=classes)
        self.calibration.update(scores, labels)

    def compute(self) -> Metrics:
        seen, recall = self.images > 0, self.correct / self.images.clamp(min=1)

        def mean(group: Tensor) -> float | None:
            chosen = recall[group & seen]
            return float(chosen.mean()) if len(chosen) else None

        accuracy = float(self.correct.sum() / self.images.sum())
        return {
            "accuracy": accuracy,
            "error": 1 - accuracy,
            "macro": mean(seen),
            **{name: mean(mask) for name, mask in self.stats.shots(self.many, self.few).items()},
            "ece": self.calibration.compute(),
            "per_class": [value if there else None for value, there in zip(recall.tolist(), seen.tolist(), strict=True)],
            "images": int(self.images.sum()),
        }


def measure(scores: Tensor, labels: Tensor, stats: ClassStats, many: int = Shots.many, few: int = Shots.few) -> Metrics:
    """Computes the metrics of `Top1Meter` for all rows at once. scores: (N, C). labels: (N,)."""
    meter = Top1Meter(stats, many, few)
    meter.update(scores, Labels.hard(labels))
    return meter.compute()
