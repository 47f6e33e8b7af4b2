"""Open-set recognition by the largest probability: the F-measure with a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ltrun.evaluation.probabilities import Fractions

THRESHOLD = 0.1  # of OLTR, for ImageNet-LT and Places-LT


def accepted(confidences: Fractions, threshold: float = THRESHOLD) -> NDArray[np.bool_]:
    """Returns (N,) whether an image counts as one of a known class: its largest probability reaches the threshold."""
    return confidences >= threshold


def f_measure(right: NDArray[np.bool_], known: Fractions, unknown: Fractions, threshold: float = THRESHOLD) -> float:
    """Returns the open-set F-measure, 2PR / (P + R), of known images, as those of a test split, and unknown ones.

    An image below the threshold is rejected. True positives are known images with the right class that are accepted, false
    positives all other known images, rejected ones included, and false negatives accepted unknown images. With these counts,
    F = 2 TP / (2 TP + FP + FN), which is 0 without true positives; the authors' code adds 1e-12 to P + R, and fails if no image
    is accepted.

    right: (N,) whether the likeliest class of a known image is its label. known: (N,) its largest probability. unknown: (M,)
    of the others.

    Liu et al., 2019, arXiv 1904.05160: the authors' code since 29 January 2020. Before, as for the paper's numbers and in many
    copies of the code, a rejected known image was no false positive, which raises F.
    """
    hits = int((right & accepted(known, threshold)).sum())
    errors = len(right) - hits + int(accepted(unknown, threshold).sum())
    return 2 * hits / (2 * hits + errors)
