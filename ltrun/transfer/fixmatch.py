"""FixMatch: confident predictions for weak views of unlabelled images are the labels of strong views."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.types import Outputs, Streams


def one_hot(probabilities: Tensor) -> Tensor:
    """(B, C): 1 for the likeliest class of a row, the first of several, 0 elsewhere."""
    classes = torch.arange(probabilities.shape[1], device=probabilities.device)
    return (probabilities.argmax(dim=1, keepdim=True) == classes).to(probabilities.dtype)


def confident(probabilities: Tensor, threshold: float) -> Tensor:
    """(B,): 1 for a row whose largest probability is at least the threshold, else 0."""
    return (probabilities.amax(dim=1) >= threshold).to(probabilities.dtype)


def consistency(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """A scalar: the mean over all B rows of kept * cross-entropy(labels, softmax(logits)).

    logits, labels: (B, C); labels are distributions. kept: (B,) weights, 0 for a row that is left out but counted.
    """
    return (-(labels * F.log_softmax(logits, dim=1)).sum(dim=1) * kept).mean()


def probability(threshold: float) -> float:
    """Returns the threshold. Raises ConfigError unless it is from 0 to 1."""
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must be a probability, from 0 to 1, got {threshold}")
    return threshold


def predicted(outputs: Outputs) -> Tensor:
    """(B, C) probabilities of the network's classes, without gradient."""
    return F.softmax(widened(outputs.need("logits").detach()), dim=1)


class FixMatch(Term):
    """FixMatch: the cross-entropy of strong views with the likeliest class of their weak views, where it is likely enough.

    The weak view gets no gradient, and rows below the threshold count in the mean. Streams `weak` and `strong` are two views
    of one draw of unlabelled images, as many as labelled ones (the authors draw seven times as many). Each stream has its own
    batch statistics, where the authors normalise all images of a step together. threshold: a probability.

    Sohn et al., 2020, arXiv 2001.07685.
    """

    streams = ("weak", "strong")

    def __init__(self, threshold: float = 0.95):
        super().__init__()
        self.threshold = probability(threshold)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        found = predicted(outputs["weak"])
        return consistency(widened(outputs["strong"].need("logits")), one_hot(found), confident(found, self.threshold))
