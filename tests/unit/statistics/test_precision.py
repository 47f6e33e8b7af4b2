"""Average precision on resampled images equals the metric of runs."""

import numpy as np
import pytest
import torch

from ltrun.statistics.precision import average_precisions
from ltrun.tasks.average_precision import average_precision


@pytest.mark.parametrize("digits", [1, 8], ids=["ties", "no ties"])
def test_weights_are_repeated_images(digits: int) -> None:
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=60), digits).astype(np.float32)
    positive = rng.random(60) < 0.2
    weights = rng.integers(1, 4, (60, 5)).astype(np.float32)
    found = average_precisions(scores, positive, weights)
    for column in range(5):
        rows = np.repeat(np.arange(60), weights[:, column].astype(int))
        expected = average_precision(torch.from_numpy(scores[rows]), torch.from_numpy(positive[rows]))
        assert found[column] == pytest.approx(expected, rel=1e-5)


def test_a_class_without_positives_has_no_precision() -> None:
    found = average_precisions(np.zeros(3, np.float32), np.zeros(3, np.bool_), np.ones((3, 2), np.float32))
    assert np.isnan(found).all()
