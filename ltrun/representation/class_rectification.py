"""Class rectification loss (CRL): triplets of the hardest images of the classes that are rare in a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.types import ClassStats, Outputs, Streams


def imbalance(counts: Tensor) -> float:
    """The least share of the images that would have to change class for all classes to be equal, from 0 to below 1."""
    shares = counts.double() / counts.sum()
    return float((1 / len(counts) - shares).clamp(min=0).sum())


def minority(labels: Tensor, share: float = 0.5) -> Tensor:
    """(B,) bool: rows of the smallest classes of a batch, which together have at most `share` of its rows.

    Of classes of one size the one with the smaller number comes first. labels: (B,).
    """
    size = (labels[:, None] == labels).sum(dim=1)
    before = (size < size[:, None]) | ((size == size[:, None]) & (labels <= labels[:, None]))
    return before.sum(dim=1) <= share * len(labels)


def rectification(probabilities: Tensor, labels: Tensor, k: int = 3, margin: float = 0.5, share: float = 0.5) -> Tensor:
    """A scalar: the mean over triplets of max(0, margin + |s_a - s_p| - (s_a - s_n)), with s the probability of a's class.

    Each row of a minority class is an anchor a. p: the k rows of its class with the smallest s, other than a. n: the k rows of
    other classes with the largest s. 0 without triplets. probabilities: (B, C). labels: (B,).
    """
    scores = probabilities[:, labels].T  # of the anchor's class, for anchor and row
    same = labels[:, None] == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    number = min(k, len(labels))
    positive = scores.masked_fill(~same | itself, torch.inf).topk(number, dim=1, largest=False).values
    negative = scores.masked_fill(same, -torch.inf).topk(number, dim=1).values
    known = positive.isfinite()[:, :, None] & negative.isfinite()[:, None] & minority(labels, share)[:, None, None]
    anchor = scores.diagonal()[:, None]
    nearer = (anchor - torch.where(positive.isfinite(), positive, 0.0)).abs()
    farther = anchor - torch.where(negative.isfinite(), negative, 0.0)
    hinges = (margin + nearer[:, :, None] - farther[:, None]).clamp(min=0)
    return torch.where(known, hinges, 0.0).sum() / known.sum().clamp(min=1)


class CRL(Term):
    """Class rectification loss: (1 - a) * the run's classification loss + a * `rectification`, with a = eta * `imbalance`.

    The classes that are smallest in the batch, together at most `share` of it, pull the images of theirs that score lowest
    towards each of their images, and push away the images of other classes that score highest for theirs. This is the
    class-level form with the relative comparison. An adaptation: the authors' code could not be read, so the numbers and
    the measure of imbalance are those of the paper as a port and a textbook have them.

    Dong et al., 2017, arXiv 1712.03162; 2019, arXiv 1804.10851.
    """

    mixed = False
    balances = True

    def __init__(
        self,
        eta: float = 0.01,
        k: int = 3,
        margin: float = 0.5,
        share: float = 0.5,
        *,
        stats: ClassStats,
        classify: Classification,
    ):
        super().__init__()
        if not 0 <= eta <= 1 or not 0 < share <= 1:
            raise ConfigError(f"eta must lie between 0 and 1 and share be above 0 and at most 1, got {eta} and {share}")
        if k < 1 or margin < 0:
            raise ConfigError(f"k must be at least 1 and margin not be negative, got {k} and {margin}")
        self.k, self.margin, self.share, self.classify = k, margin, share, classify
        self.weight = eta * imbalance(stats.counts)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], streams["main"].targets
        probabilities = widened(output.need("logits")).softmax(dim=1)
        rectified = rectification(probabilities, targets.labels, self.k, self.margin, self.share)
        return (1 - self.weight) * self.classify.loss(output.need("logits"), targets, output) + self.weight * rectified
