"""Thresholds per class: where the F1 of each class is highest on validation images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Evidence, PostHoc
from ltrun.types import ClassStats, Outputs


def best_thresholds(scores: Tensor, labels: Tensor) -> Tensor:
    """(C,) thresholds above which a class is predicted with the highest F1; 0 for a class without positives.

    scores: (N, C). labels: (N, C) bool. A threshold lies halfway between two scores of the class, or 1 below the lowest. Of
    several that are equally good, the highest is taken.
    """
    ordered, order = scores.sort(dim=0, descending=True)
    right = labels.gather(0, order).cumsum(0).double()
    said = torch.arange(1, len(scores) + 1, device=scores.device, dtype=torch.float64)[:, None]
    f1 = 2 * right / (said + labels.sum(0))
    below = torch.cat([ordered[1:], ordered[-1:] - 2])
    f1 = torch.where((ordered > below) & ordered.isfinite(), f1, -1.0)  # equal scores cannot be told apart
    best = torch.where(f1 == f1.amax(0), said.long() - 1, len(scores)).amin(0)[None]
    upper, lower = ordered.gather(0, best)[0], below.gather(0, best)[0]
    lower = torch.where(lower.isfinite(), lower, upper - 2)
    middle = lower + (upper - lower) / 2
    found = torch.where(middle < upper, middle, lower)  # of two neighbouring numbers the mean may be the upper one
    return torch.where(labels.any(0) & found.isfinite(), found, 0.0)


class Thresholds(PostHoc):
    """A threshold for each class, subtracted from its logits, so that a score above 0 is still the prediction.

    The threshold of a class is where its F1 is highest on the validation images; it is 0 for a class that no validation image
    has. The ranking within a class, and so its average precision, stays; F1, precision and recall change, and so does the
    ranking of classes within an image (accuracy_1, accuracy_5). One threshold a class is the optimum of the macro F1 alone.

    Yang, 2001, A study of thresholding strategies for text categorization, SIGIR 2001 ("SCut").
    """

    accepts = frozenset({MULTI_LABEL})
    sees = frozenset({"val"})
    thresholds: Tensor

    def __init__(self, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("thresholds", torch.zeros(stats.num_classes))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        val = splits["val"]
        self.thresholds = best_thresholds(val.outputs().need("logits"), val.labels)

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") - self.thresholds
