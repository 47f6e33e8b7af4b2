"""Average precision of one class, as scikit-learn has it and as torchnet's APMeter has it."""

from __future__ import annotations

import torch
from torch import Tensor


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Returns the sum over distinct scores of precision times the gain of recall; equal scores share one threshold.

    No interpolation, as scikit-learn's average_precision_score; 0 without positives. scores: (N,). positive: (N,) bool.
    """
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], positive[order].double()
    ends = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)])  # the last row of each score
    found = hits.cumsum(0)[ends]
    precision = found / (torch.arange(1, len(ranked) + 1)[ends])
    gains = found.diff(prepend=found.new_zeros(1))
    return float((precision * gains).sum() / found[-1].clamp(min=1))


def average_precision_in_order(scores: Tensor, positive: Tensor) -> float:
    """Returns the mean precision at the positives in the order of the scores; of equal scores, earlier rows come first.

    As torchnet's APMeter, by which VideoLT is measured (Zhang et al., 2021, arXiv 2105.02668); its sort leaves the order of
    equal scores open. 0 without positives. scores: (N,). positive: (N,) bool.
    """
    hits = positive[scores.argsort(descending=True, stable=True)].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float((precision * hits).sum() / hits.sum().clamp(min=1))
