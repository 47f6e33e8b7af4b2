"""Open-set F-measure against a plain loop and in its limits; area under the ROC curve against scikit-learn."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ltrun.evaluation import stored
from ltrun.evaluation.classes import area_under_roc
from ltrun.evaluation.open_set import THRESHOLD, accepted, f_measure
from ltrun.metrics import Shots
from ltrun.results.open_images import Guesses
from ltrun.results.predictions import Predictions
from tests.support.predicted import scores_of

SHARES = st.floats(0, 1).map(lambda share: round(share, 2))  # some lie on the threshold


def by_loop(labels: list[int], predicted: list[int], confidences: list[float]) -> float:
    """The rule in words, image by image; the label -1 is of an open image."""
    positive = wrong = missed = 0
    for label, guess, confidence in zip(labels, predicted, confidences, strict=True):
        said = -1 if confidence < THRESHOLD else guess
        if label != -1 and said == label:
            positive += 1
        elif label != -1:
            wrong += 1
        elif said != -1:
            missed += 1
    if not positive:
        return 0.0
    precision, recall = positive / (positive + wrong), positive / (positive + missed)
    return 2 * precision * recall / (precision + recall)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), SHARES), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 3), SHARES), min_size=1, max_size=30),
)
def test_f_measure_is_that_of_a_loop_over_images(known: list[tuple[int, int, float]], unknown: list[tuple[int, float]]) -> None:
    labels = [label for label, _, _ in known] + [-1] * len(unknown)
    guesses = [guess for _, guess, _ in known] + [guess for guess, _ in unknown]
    sure = [share for _, _, share in known] + [share for _, share in unknown]
    right = np.array([label == guess for label, guess, _ in known])
    found = f_measure(right, np.array(sure[: len(known)]), np.array(sure[len(known) :]))
    assert found == pytest.approx(by_loop(labels, guesses, sure)) and 0 <= found <= 1


def test_f_measure_in_its_limits() -> None:
    right = np.array([True, True, False, True])
    sure, unsure = np.full(4, 0.9), np.full(4, 0.05)
    assert f_measure(np.ones(4, bool), sure, unsure) == 1
    assert f_measure(right, unsure, unsure) == f_measure(right, unsure, sure) == f_measure(~np.ones(4, bool), sure, sure) == 0
    assert f_measure(right, sure, unsure) == pytest.approx(2 * 3 / (2 * 3 + 1))
    assert f_measure(right, sure, sure) == pytest.approx(2 * 3 / (2 * 3 + 1 + 4))
    assert accepted(np.array([0.1, 0.0999])).tolist() == [True, False]  # the threshold itself is not below it


@given(st.lists(st.tuples(st.booleans(), SHARES), min_size=2, max_size=20), st.lists(SHARES, min_size=1, max_size=20))
def test_f_measure_falls_with_every_rejected_test_image_and_every_accepted_open_image(
    known: list[tuple[bool, float]], unknown: list[float]
) -> None:
    right, sure = np.array([right for right, _ in known]), np.array([share for _, share in known])
    f, raised = f_measure(right, sure, np.array(unknown)), f_measure(right, sure, np.array([*unknown, 1.0]))
    assert f_measure(right, np.append(0.0, sure[1:]), np.array(unknown)) <= f and raised <= f
    assert f_measure(right, sure, np.array([*unknown, 0.0])) == f  # a rejected open image costs nothing


def test_area_under_roc_is_that_of_scikit_learn_also_with_equal_values() -> None:
    drawn = np.random.default_rng(1)
    known, unknown = drawn.beta(4, 2, 300).round(2), drawn.beta(2, 3, 170).round(2)
    expected = roc_auc_score(np.repeat([1, 0], [300, 170]), np.concatenate([known, unknown]))
    assert area_under_roc(known, unknown) == pytest.approx(expected, abs=1e-12)
    assert area_under_roc(known, known) == pytest.approx(0.5) and area_under_roc(np.ones(3), np.zeros(2)) == 1


def test_metrics_of_a_run_and_of_its_groups() -> None:
    labels = np.repeat(np.arange(12), 20)
    scores = 0.1 * scores_of(labels, 12, lift=2.0)
    powers = np.exp(scores.astype(np.float64))
    shares = powers / powers.sum(1, keepdims=True)
    unknown = np.random.default_rng(2).uniform(0.05, 0.5, 90)
    guesses = Guesses(np.zeros(90, np.int64), unknown, "d")
    tested = stored.Tested(Predictions(labels, scores, None), [500] * 4 + [50] * 4 + [5] * 4, Shots(), partial(lambda: guesses))
    found, area = stored.open_f(tested), stored.open_auroc(tested)
    sure, said = shares.max(1), scores.argmax(1)
    everyone = [*labels.tolist(), *[-1] * 90], [*said.tolist(), *[0] * 90], [*sure.tolist(), *unknown.tolist()]
    assert (sure < THRESHOLD).any() and (unknown < THRESHOLD).any()
    assert found["open_f"] == pytest.approx(by_loop(*everyone))
    hits = (said == labels) & (sure >= THRESHOLD)
    assert [found[f"open_{group}"] for group in ("many", "medium", "few")] == pytest.approx(
        [hits[:80].mean(), hits[80:160].mean(), hits[160:].mean()]
    )
    assert area["open_auroc"] == pytest.approx(roc_auc_score(np.repeat([1, 0], [240, 90]), np.append(sure, unknown)))
    assert found["opened"] == area["opened"] == {"images": 90, "digest": "d"}
