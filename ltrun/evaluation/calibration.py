"""Calibration of stored predictions: reliability bins; expected, adaptive and class-wise calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.evaluation.probabilities import Fractions, by_rows

BINS = 15  # as in the metric `ece` of a record


@dataclass(frozen=True, eq=False)
class Reliability:
    """Sums over the images of each of B bins of confidence, from 0 to 1. images: their number. right: those predicted right.

    confidence: sum of their confidences.
    """

    images: Fractions
    right: Fractions
    confidence: Fractions

    def __add__(self, other: Reliability) -> Reliability:
        """Joins the images of two runs."""
        return Reliability(self.images + other.images, self.right + other.right, self.confidence + other.confidence)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap of confidence and accuracy, bins weighted by their images.

        Naeini et al., 2015, AAAI 2015; Guo et al., 2017, arXiv 1706.04599.
        """
        return float(np.abs(self.confidence - self.right).sum() / self.images.sum())


def confidences(labels: NDArray[np.int64], scores: NDArray[Any]) -> tuple[Fractions, NDArray[np.bool_]]:
    """Returns (N,) the probability of the predicted class, and (N,) whether it is the label. labels: (N,). scores: (N, C)."""
    confidence, right = np.empty(len(labels)), np.empty(len(labels), bool)
    for some, shares in by_rows(scores):
        predicted = scores[some].argmax(1)  # of the shares, two may be equal where the scores are not
        confidence[some] = shares[np.arange(len(shares)), predicted]
        right[some] = predicted == labels[some]
    return confidence, right


def reliability(confidence: Fractions, right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Returns the sums of equally wide bins; a bin holds its upper end. confidence, right: (N,), of `confidences`."""
    which = _bin(confidence, bins)
    images, sure, confident = (np.bincount(which, each, bins).astype(np.float64) for each in (None, right, confidence))
    return Reliability(images, sure, confident)


def adaptive_error(confidence: Fractions, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Returns the calibration error of bins with equally many images: rare confidences weigh as much as frequent ones.

    Images of equal confidence are ordered as in the test split. With fewer images than bins, each is a bin.

    Nguyen and O'Connor, 2015, arXiv 1508.05154; Mukhoti et al., 2020, arXiv 2002.09437 ("AdaECE").
    """
    order = np.argsort(confidence, kind="stable")
    gaps = (confidence - right)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, min(bins, len(gaps)))) / len(gaps))


def classwise_errors(labels: NDArray[np.int64], scores: NDArray[Any], bins: int = BINS) -> Fractions:
    """Returns (C,) calibration errors of the probability of each class, over all images; their mean is the class-wise error.

    The bins of a class are equally wide, and its gap is between the mean probability of the class and the share of its labels.

    Nixon et al., 2019, arXiv 1904.01685 ("static calibration error"); Kull et al., 2019, arXiv 1910.12656.
    """
    rows, classes = scores.shape
    gaps = np.zeros(classes * bins)
    first = bins * np.arange(classes)
    for some, shares in by_rows(scores):
        which = _bin(shares, bins) + first
        gaps += np.bincount(which.ravel(), shares.ravel(), len(gaps))
        mine = np.arange(len(shares)), labels[some]
        gaps -= np.bincount(which[mine], minlength=len(gaps))
    return np.asarray(np.abs(gaps).reshape(classes, bins).sum(1) / rows)


def _bin(shares: Fractions, bins: int) -> NDArray[np.int64]:
    return np.clip(np.ceil(shares * bins).astype(np.int64) - 1, 0, bins - 1)
