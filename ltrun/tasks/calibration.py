"""Expected calibration error."""

from __future__ import annotations

import torch
from torch import Tensor

CALIBRATION_BINS = 15


def expected_calibration_error(scores: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Mean gap of confidence and accuracy over equal-width bins of confidence (Guo et al., 2017, arXiv 1706.04599)."""
    gap = torch.zeros(bins, dtype=torch.float64)
    rows = max(1, 2**20 // scores.shape[1])  # at once: with 8,142 classes all in double precision would be half a gigabyte
    for some, right in zip(scores.split(rows), labels.split(rows), strict=True):
        confidence, predicted = some.double().softmax(1).max(1)
        which = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
        gap.index_add_(0, which, confidence - (predicted == right).double())
    return float(gap.abs().sum() / len(labels))
