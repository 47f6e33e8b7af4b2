"""Average precision of one class and its sensitivity to each image: the images' share of an interval without resampling.

With a weight w of each image, A = sum_i w_i H_i / T_i / W over positives i, where T_i is the weight of the images that score at
least as high as i, H_i the weight of the positives among them, and W the weight of all positives. A bootstrap draws weights of
mean and variance 1, so its variance of A is, to first order, the sum over images of the squared derivative of A by the weight
(the infinitesimal jackknife: Jaeckel, 1972; Giordano et al., 2019, arXiv 1806.00550). Derivatives of differences and of means
over classes and seeds are those of their terms, so one pass over the scores serves every column of a comparison.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def precision_by_image(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> tuple[float, Numbers]:
    """Returns the average precision, and (N,) its derivatives by the weight of each image at weights of 1, which add up to 0.

    As tasks.average_precision: no interpolation, equal scores share one threshold; nan and zeros without positive images.
    scores, positive: (N,).
    """
    images, derivatives = len(scores), np.zeros(len(scores))
    order = np.argsort(-scores, kind="stable")
    hits = positive[order]
    there = np.flatnonzero(hits)
    if not len(there):
        return float("nan"), derivatives
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), images - 1)  # of groups of equal scores
    group = np.searchsorted(ends, there)  # of each positive
    above = (ends[group] + 1).astype(np.float64)
    found = np.searchsorted(there, ends[group], side="right").astype(np.float64)
    precision = found / above
    whole = float(precision.mean())
    below = np.searchsorted(there, np.append(0, ends[:-1] + 1))[np.searchsorted(ends, np.arange(images))]
    gained, lost = (_from(terms)[below] for terms in (1 / above, precision / above))  # over positives that rank no higher
    derivatives[order] = np.where(hits, gained, 0.0) - lost
    derivatives[order[there]] += precision - whole
    return whole, derivatives / len(there)


def _from(terms: Numbers) -> Numbers:
    """Returns (P + 1,) the sums of P terms from each place on."""
    return np.append(np.cumsum(terms[::-1])[::-1], 0.0)
