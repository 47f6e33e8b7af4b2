"""Expected calibration error."""

from __future__ import annotations

import torch
from torch import Tensor

CALIBRATION_BINS = 15


class Calibration:
    """Mean gap of confidence and accuracy over equal-width bins of confidence (Guo et al., 2017, arXiv 1706.04599)."""

    def __init__(self, bins: int = CALIBRATION_BINS) -> None:
        self.gap = torch.zeros(bins, dtype=torch.float64)
        self.rows = 0

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Adds B rows. scores: (B, C), whose softmax is the confidence. labels: (B,)."""
        bins = len(self.gap)
        at_once = max(1, 2**20 // scores.shape[1])  # with 8,142 classes, all rows in double precision would take half a GB
        for some, right in zip(scores.split(at_once), labels.split(at_once), strict=True):
            confidence, predicted = some.double().softmax(1).max(1)
            which = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
            self.gap.index_add_(0, which, confidence - (predicted == right).double())
        self.rows += len(labels)

    def compute(self) -> float:
        return float(self.gap.abs().sum() / self.rows)


def expected_calibration_error(scores: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Computes `Calibration` for all rows at once. scores: (N, C). labels: (N,)."""
    calibration = Calibration(bins)
    calibration.update(scores, labels)
    return calibration.compute()
