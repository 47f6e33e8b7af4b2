"""Average precision equals the metric of runs, and its derivatives by the images' weights those of scikit-learn's weights."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from ltrun.statistics.bootstrap import of_derivatives
from ltrun.statistics.precision import precision_by_image
from ltrun.tasks.average_precision import average_precision

Numbers = NDArray[np.floating]


@pytest.mark.parametrize("digits", [1, 8], ids=["ties", "no ties"])
def test_derivatives_are_those_of_weighted_precision(digits: int) -> None:
    rng, step = np.random.default_rng(0), 1e-4
    scores = np.round(rng.normal(size=60), digits).astype(np.float32)
    positive = rng.random(60) < 0.2
    found, derivatives = precision_by_image(scores, positive)
    assert found == pytest.approx(average_precision(torch.from_numpy(scores), torch.from_numpy(positive)))
    for image in range(60):
        sides = []
        for weight in (1 + step, 1 - step):
            weights = np.where(np.arange(60) == image, weight, 1.0)
            sides.append(average_precision_score(positive, scores, sample_weight=weights))
        assert derivatives[image] == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-7)
    assert derivatives.sum() == pytest.approx(0, abs=1e-12)  # weights that are all doubled change nothing


def weighted(scores: Numbers, positive: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Returns (R,) the average precision with each row of (R, N) weights, for scores that all differ."""
    order = np.argsort(-scores)
    hits = weights[:, order] * positive[order]
    return np.asarray((hits * hits.cumsum(1) / weights[:, order].cumsum(1)).sum(1) / hits.sum(1))


def test_variance_is_that_of_a_bootstrap() -> None:
    """On one run, and on the difference of two, whose resamples are shared."""
    rng = np.random.default_rng(1)
    positive = rng.random(400) < 0.25
    runs = [(rng.normal(size=400) + lift * positive).astype(np.float32) for lift in (1.0, 1.3)]
    (one, mine), (other, theirs) = (precision_by_image(scores, positive) for scores in runs)
    weights = rng.standard_exponential((2000, 400))
    drawn = np.stack([weighted(scores, positive, weights) for scores in runs], axis=1)
    for by_image, value, resampled in ((mine, one, drawn[:, 0]), (mine - theirs, one - other, drawn[:, 0] - drawn[:, 1])):
        found = of_derivatives(np.array([value]), by_image[None])
        assert 0.8 < found.images / resampled.var() < 1.25
        assert found.value == value and found.n == 1


def test_a_class_without_positives_has_no_precision() -> None:
    found, derivatives = precision_by_image(np.zeros(3, np.float32), np.zeros(3, np.bool_))
    assert np.isnan(found) and not derivatives.any()
