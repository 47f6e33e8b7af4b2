"""Metrics in which classes count alike: F1, geometric and harmonic means, area under the ROC curve; predictions by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.evaluation.probabilities import Fractions, by_classes

Integers = NDArray[np.int64]


def recalls(labels: Integers, predicted: Integers, classes: int) -> Fractions:
    """Returns (C,) shares of each class's images that are predicted right; nan for a class without images.

    labels, predicted: (N,).
    """
    there, right = _counts(labels, classes), _counts(labels[labels == predicted], classes)
    return _ratio(right, there, there > 0)


def f1_scores(labels: Integers, predicted: Integers, classes: int) -> Fractions:
    """Returns (C,) F1 of each class, 0 for one that is never predicted; nan for a class without images.

    labels, predicted: (N,). Their mean is the macro F1 (Sokolova and Lapalme, 2009, IPM 45).
    """
    there, said = _counts(labels, classes), _counts(predicted, classes)
    return _ratio(2 * _counts(labels[labels == predicted], classes), there + said, there > 0)


def geometric_mean(values: Fractions) -> float | None:
    """Returns the geometric mean of the values that are not nan, 0 if one of them is 0; None for none.

    Of recalls it is the G-mean (Kubat and Matwin, 1997, ICML 1997; for several classes Sun et al., 2006, ICDM 2006).
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    return 0.0 if (known == 0).any() else float(np.exp(np.log(known).mean()))


def harmonic_mean(values: Sequence[float | None]) -> float | None:
    """Returns the harmonic mean of the values that are not None, 0 if one of them is 0; None for none.

    Of the accuracies of groups, as in generalised zero-shot learning (Xian et al., 2017, arXiv 1703.04394).
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    return 0.0 if 0 in known else len(known) / sum(1 / value for value in known)


def areas_under_roc(labels: Integers, scores: NDArray[Any]) -> Fractions:
    """Returns (C,) areas under the ROC curve of each class's probability, the class against the rest.

    It is the probability that an image of the class gets a higher probability than another image; equal ones count one half. It
    is nan for a class without images, or with all of them.
    The mean over classes is scikit-learn's `roc_auc_score(..., multi_class="ovr")`. labels: (N,). scores: (N, C).

    Provost and Domingos, 2000; Fawcett, 2006, Pattern Recognition Letters 27.
    """
    rows, classes = scores.shape
    found = np.full(classes, np.nan)
    for some, shares in by_classes(scores):
        for c, column in zip(range(classes)[some], shares.T, strict=True):
            mine = labels == c
            if 0 < mine.sum() < rows:
                found[c] = area_under_roc(column[mine], column[~mine])
    return found


def area_under_roc(known: Fractions, unknown: Fractions) -> float:
    """Returns the probability that a known image has a larger probability than an unknown one; equal ones count one half.

    Known are the images of a class against the rest, or those of a test split against images of other classes (Hendrycks and
    Gimpel, 2017, arXiv 1610.02136). known: (N,). unknown: (M,).
    """
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return float(below.sum() / 2 / len(known) / len(unknown))


def shares_of_groups(values: Integers, groups: Integers, number: int) -> list[float | None]:
    """Returns the share of the values that are classes of each group; None for a group without classes.

    values: (N,) labels, or predicted classes: over a balanced test split, the predictive distribution. groups: (C,) group of
    each class, 0 to number - 1.
    """
    found = np.bincount(groups[values], minlength=number) / len(values)
    return [float(found[group]) if (groups == group).any() else None for group in range(number)]


def _counts(values: Integers, classes: int) -> Integers:
    return np.bincount(values, minlength=classes)


def _ratio(part: Integers, whole: Integers, defined: NDArray[np.bool_]) -> Fractions:
    return np.where(defined, part / np.maximum(whole, 1), np.nan)
