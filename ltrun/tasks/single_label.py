"""Single-label classification: one label an image, top-1 metrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.metrics import Shots
from ltrun.numerics import finite
from ltrun.tasks.calibration import expected_calibration_error
from ltrun.types import ClassStats, Outputs

Metrics = dict[str, Any]


def measure(scores: Tensor, labels: Tensor, stats: ClassStats, many: int = Shots.many, few: int = Shots.few) -> Metrics:
    """The metrics that metrics.py declares for this task, as fractions of 1. scores: (N, C), labels: (N,).

    accuracy is over images, macro the mean over the classes that have test images, many/medium/few the same mean within a
    shot group; a group without such classes is None, never 0. Raises TrainingError for scores that are not finite, other than
    the minus infinity of a class that is ruled out.
    """
    if not finite(scores):
        raise TrainingError("the network's scores are not finite: it diverged in its last steps. Lower optimizer.lr")
    hits = scores.argmax(1) == labels
    images = torch.bincount(labels, minlength=stats.num_classes).double()
    correct = torch.bincount(labels[hits], minlength=stats.num_classes).double()
    seen, recall = images > 0, correct / images.clamp(min=1)

    def mean(group: Tensor) -> float | None:
        chosen = recall[group & seen]
        return float(chosen.mean()) if len(chosen) else None

    shots = {name: mean(mask) for name, mask in stats.shots(many, few).items()}
    accuracy = float(hits.double().mean())
    return {
        "accuracy": accuracy,
        "error": 1 - accuracy,
        "macro": mean(seen),
        **shots,
        "ece": expected_calibration_error(scores, labels),
        "per_class": [value if there else None for value, there in zip(recall.tolist(), seen.tolist(), strict=True)],
        "images": len(labels),
    }


def plain_scores(outputs: Outputs) -> Tensor:
    assert outputs.logits is not None
    return outputs.logits
