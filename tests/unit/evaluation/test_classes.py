"""Metrics of classes against scikit-learn; classes without images, never predicted, or never right."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ltrun.evaluation import classes, probabilities
from ltrun.evaluation.classes import (
    areas_under_roc,
    f1_scores,
    geometric_mean,
    harmonic_mean,
    recalls,
    shares_of_groups,
)
from tests.support.predicted import scores_of

LABELS = np.random.default_rng(3).integers(0, 6, 400)
SCORES = scores_of(LABELS, 6)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def test_f1_and_recall_are_those_of_scikit_learn() -> None:
    predicted = SCORES.argmax(1)
    assert f1_scores(LABELS, predicted, 6) == pytest.approx(f1_score(LABELS, predicted, average=None))
    each = [(predicted[c == LABELS] == c).mean() for c in range(6)]
    assert recalls(LABELS, predicted, 6) == pytest.approx(each)


def test_a_class_without_images_is_left_out_and_one_never_predicted_has_0() -> None:
    labels, predicted = np.array([0, 0, 1, 3]), np.array([0, 2, 0, 3])
    assert f1_scores(labels, predicted, 4) == pytest.approx([0.5, 0.0, np.nan, 1.0], nan_ok=True)
    assert recalls(labels, predicted, 4) == pytest.approx([0.5, 0.0, np.nan, 1.0], nan_ok=True)


@pytest.mark.parametrize("at_once", [7, 2**20])
def test_area_under_roc_is_that_of_scikit_learn(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probabilities, "AT_ONCE", at_once)
    rounded = np.round(SCORES)  # many equal scores
    for scores in (SCORES, rounded):
        found = areas_under_roc(LABELS, scores)
        shares = softmax(scores)
        expected = [roc_auc_score(c == LABELS, shares[:, c]) for c in range(6)]
        assert found == pytest.approx(expected, abs=1e-12)
        assert found.mean() == pytest.approx(roc_auc_score(LABELS, shares, multi_class="ovr", average="macro"), abs=1e-12)


def test_area_is_undefined_without_images_or_without_others() -> None:
    found = areas_under_roc(np.array([1, 1]), np.array([[0.0, 1.0, -np.inf], [2.0, 1.0, -np.inf]]))
    assert np.isnan(found).all()


def test_equal_probabilities_count_one_half() -> None:
    assert areas_under_roc(np.array([0, 1, 1]), np.zeros((3, 2))).tolist() == [0.5, 0.5]


def test_geometric_and_harmonic_means() -> None:
    assert geometric_mean(np.array([0.25, np.nan, 1.0])) == pytest.approx(0.5)
    assert geometric_mean(np.array([0.0, 1.0])) == 0 and geometric_mean(np.array([np.nan])) is None
    assert harmonic_mean([1.0, None, 0.5]) == pytest.approx(2 / 3)
    assert harmonic_mean([0.0, 1.0]) == 0 and harmonic_mean([None]) is None


def test_shares_of_groups_add_up_to_1_and_an_empty_group_has_none() -> None:
    found = classes.shares_of_groups(np.array([0, 0, 1, 2]), np.array([0, 0, 2]), 3)
    assert found == [0.75, None, 0.25]
    assert shares_of_groups(np.array([0, 0]), np.array([0, 1, 1]), 2) == [1.0, 0.0]
