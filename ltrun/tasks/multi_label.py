"""Multi-label classification: any number of labels per image, mean average precision and F1."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.metrics import MULTI_LABEL, TASKS, Metric, Shots
from ltrun.numerics import finite
from ltrun.tasks.average_precision import average_precision, average_precision_in_order
from ltrun.tasks.base import Metrics
from ltrun.types import ClassStats, MultiHot, Outputs, Targets

FIRST = 5  # classes in accuracy_5


class MultiLabel:
    """Any number of labels per image; each class with a score above 0, a probability above one half, is predicted."""

    name = MULTI_LABEL
    metrics: tuple[Metric, ...] = TASKS[MULTI_LABEL]

    def stats(self, targets: Targets, names: tuple[str, ...]) -> ClassStats:
        return ClassStats.of(targets, len(names), names)

    def scores(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits")

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.sigmoid()

    def stand_in(self, num_classes: int) -> MultiHot:
        return MultiHot(torch.eye(num_classes, dtype=torch.bool))

    def meter(self, stats: ClassStats, many: int, few: int) -> PrecisionMeter:
        return PrecisionMeter(stats, many, few)


class PrecisionMeter:
    """Average precisions and F1 as fractions of 1. Keeps all scores and labels: 5 bytes for each image and class.

    map: mean over the classes with positives of `average_precision`; many/medium/few the same mean within a shot group; a group
    without such classes is None, never 0. map_videolt and videolt_*: means of `average_precision_in_order`, in which a class
    without positives has 0 and counts, as in VideoLT's code. micro_*: of all decisions together. class_precision, class_recall:
    means of the classes' values, in which an undefined one is 0; cf1: their harmonic mean; macro_f1: the mean of the classes'
    F1. These means are over the classes with positives. accuracy_1, accuracy_5: over the images that have a label.
    """

    def __init__(self, stats: ClassStats, many: int = Shots.many, few: int = Shots.few) -> None:
        self.stats, self.many, self.few = stats, many, few
        self.scores: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, scores: Tensor, targets: Targets) -> None:
        """Adds B rows. scores: (B, C), on the host. Raises TrainingError for scores that are not finite; minus infinity is
        allowed, and rules a class out."""
        if not finite(scores):
            raise TrainingError("the network's scores are not finite: it diverged in its last steps. Lower optimizer.lr")
        self.scores.append(scores.float())
        self.labels.append(cast(MultiHot, targets).labels)

    def compute(self) -> Metrics:
        scores, labels = torch.cat(self.scores), torch.cat(self.labels)
        positives = labels.sum(0)
        there, groups = positives > 0, self.stats.shots(self.many, self.few)
        each = list(zip(scores.unbind(1), labels.unbind(1), strict=True))
        usual = torch.tensor([average_precision(*column) for column in each], dtype=torch.float64)
        ordered = torch.tensor([average_precision_in_order(*column) for column in each], dtype=torch.float64)
        return {
            "map": _mean(usual[there]),
            **{name: _mean(usual[mask & there]) for name, mask in groups.items()},
            "map_videolt": _mean(ordered),
            **{f"videolt_{name}": _mean(ordered[mask]) for name, mask in groups.items()},
            **_decisions(scores > 0, labels, there),
            **_likeliest(scores, labels),
            "per_class": _listed(usual, there),
            "positives": positives.tolist(),
            "classes": int(there.sum()),
            "images": len(labels),
        }


def _decisions(predicted: Tensor, labels: Tensor, there: Tensor) -> Metrics:
    """Returns precision, recall and F1. predicted, labels: (N, C) bool. there: (C,) whether a class has positives."""
    right, said, true = ((labels & predicted).sum(0).double(), predicted.sum(0).double(), labels.sum(0).double())
    precision, recall, f1 = _ratio(right, said), _ratio(right, true), _ratio(2 * right, said + true)
    classes = {"class_precision": precision, "class_recall": recall, "macro_f1": f1}
    means = {name: _mean(values[there]) for name, values in classes.items()}
    mean_precision, mean_recall = means["class_precision"], means["class_recall"]
    total = torch.stack([right.sum(), said.sum(), true.sum()])
    harmonic = None
    if mean_precision is not None and mean_recall is not None:
        harmonic = 2 * mean_precision * mean_recall / max(mean_precision + mean_recall, 1e-300)
    return {
        "micro_f1": float(_ratio(2 * total[0], total[1] + total[2])),
        "micro_precision": float(_ratio(total[0], total[1])),
        "micro_recall": float(_ratio(total[0], total[2])),
        **means,
        "cf1": harmonic,
        "per_class_precision": _listed(precision, said > 0),
        "per_class_recall": _listed(recall, there),
        "per_class_f1": _listed(f1, said + true > 0),
    }


def _likeliest(scores: Tensor, labels: Tensor) -> Metrics:
    """Returns the shares of the images with labels that have one among their likeliest classes."""
    scores, labels = scores[labels.any(1)], labels[labels.any(1)]
    hits = labels.gather(1, scores.topk(min(FIRST, scores.shape[1]), dim=1).indices).double()
    return {"accuracy_1": _mean(hits[:, 0]), f"accuracy_{FIRST}": _mean(hits.amax(1))}


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Returns part / whole, 0 where whole is 0."""
    return part / whole.clamp(min=1)


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def _listed(values: Tensor, defined: Tensor) -> list[float | None]:
    return [value if there else None for value, there in zip(values.tolist(), defined.tolist(), strict=True)]
