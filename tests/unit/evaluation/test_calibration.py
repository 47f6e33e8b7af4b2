"""Calibration errors: the record's own, brute force over bins, order of images, and perfect calibration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from ltrun.evaluation import probabilities
from ltrun.evaluation.calibration import BINS, adaptive_error, classwise_errors, confidences, reliability
from ltrun.results import spans
from ltrun.tasks.calibration import CALIBRATION_BINS, expected_calibration_error
from tests.support.predicted import scores_of

LABELS = np.random.default_rng(5).integers(0, 7, 500)
SCORES = 3 * scores_of(LABELS, 7)


def softmax() -> np.ndarray:
    powers = np.exp(SCORES.astype(np.float64))
    return np.asarray(powers / powers.sum(1, keepdims=True))


@pytest.fixture(params=[11, 2**20])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (spans, probabilities):
        monkeypatch.setattr(module, "AT_ONCE", request.param)


def test_expected_error_is_the_metric_of_the_records(pieces: None) -> None:
    assert BINS == CALIBRATION_BINS
    found = reliability(*confidences(LABELS, SCORES))
    assert found.error == pytest.approx(expected_calibration_error(torch.from_numpy(SCORES), torch.from_numpy(LABELS)))
    assert found.images.sum() == 500 and found.right.sum() == (SCORES.argmax(1) == LABELS).sum()
    twice = found + found
    assert twice.error == pytest.approx(found.error) and twice.images.sum() == 1000


def test_bins_of_adaptive_error_hold_equally_many_images() -> None:
    shares = softmax()
    order = np.argsort(shares.max(1), kind="stable")
    gap = (shares.max(1) - (shares.argmax(1) == LABELS))[order]
    sizes = [34] * 5 + [33] * 10  # 500 images in 15 bins
    ends = np.cumsum([0, *sizes])
    expected = sum(abs(gap[a:b].mean()) * (b - a) / 500 for a, b in pairwise(ends))
    assert adaptive_error(*confidences(LABELS, SCORES)) == pytest.approx(expected)
    assert adaptive_error(np.array([0.75]), np.array([True])) == pytest.approx(0.25)


def test_classwise_errors_by_a_loop_over_bins(pieces: None) -> None:
    shares, expected = softmax(), np.zeros(7)
    for c in range(7):
        for low in np.arange(BINS) / BINS:
            inside = (shares[:, c] > low) & (shares[:, c] <= low + 1 / BINS)
            if inside.any():
                expected[c] += inside.mean() * abs(shares[inside, c].mean() - (LABELS[inside] == c).mean())
    assert classwise_errors(LABELS, SCORES) == pytest.approx(expected)


def test_probabilities_that_hold_have_no_error_and_certainty_has_its_mistakes() -> None:
    labels = np.array([0] * 3 + [1])
    scores = np.tile(np.log([0.75, 0.25]), (4, 1))
    assert reliability(*confidences(labels, scores)).error == pytest.approx(0)
    assert adaptive_error(*confidences(labels, scores), bins=1) == pytest.approx(0)
    assert classwise_errors(labels, scores) == pytest.approx([0, 0])
    sure = np.tile([0.0, -np.inf], (4, 1))  # the second class is ruled out
    assert reliability(*confidences(labels, sure)).error == pytest.approx(0.25)
    assert classwise_errors(labels, sure) == pytest.approx([0.25, 0.25])
