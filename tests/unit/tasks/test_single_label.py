"""Metrics of single-label classification: accuracies, shot groups, calibration error."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ltrun.data.profiles import exponential
from ltrun.errors import TrainingError
from ltrun.tasks.calibration import CALIBRATION_BINS, expected_calibration_error
from ltrun.tasks.single_label import SingleLabel, measure
from ltrun.types import ClassStats, Labels

Golden = Callable[[str], dict[str, Any]]
GROUPS = ("many", "medium", "few")


def scores_of(predicted: Tensor, num_classes: int) -> Tensor:
    return nn.functional.one_hot(predicted, num_classes).float()


def measured(labels: list[int], predicted: list[int], counts: list[int]) -> dict[str, Any]:
    stats = ClassStats(torch.tensor(counts))
    return measure(scores_of(torch.tensor(predicted), len(counts)), torch.tensor(labels), stats)


# ---------------------------------------------------------------------------------------------------------------- golden


CASES = {
    "CIFAR-100-LT IF=10", "CIFAR-100-LT IF=50", "CIFAR-100-LT IF=200", "shot_acc on a fixed table",
    "shot_acc when classes 3 and 9 do not occur in the test labels", "empty groups give 0",
}  # fmt: skip
LEFT_OUT = {
    "MiSLAS / ResLT fixed index split for CIFAR-100 (any IF)": "a split by class index, which ltrun does not offer",
    "COCO-MLT class counts and split": "multi-label, convention C",
}


def case_of(golden: Golden, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    data = golden("shot_groups")
    return data["inputs"], next(case for case in data["cases"] if case["name"] == name)


def test_every_golden_case_is_covered_or_left_out_by_name(golden: Golden) -> None:
    assert {case["name"] for case in golden("shot_groups")["cases"]} == CASES | set(LEFT_OUT)


@pytest.mark.parametrize("imbalance", [10, 50, 200])
def test_the_shot_groups_of_cifar100_follow_convention_a(imbalance: int, golden: Golden) -> None:
    """Many: more than 100 images; medium: 20 to 100; few: fewer than 20. The class indices of the file are inclusive."""
    _, case = case_of(golden, f"CIFAR-100-LT IF={imbalance}")
    (expected,) = [value for key, value in case["outputs"].items() if key.startswith("A:")]
    shots = ClassStats(torch.from_numpy(exponential(100, 500, imbalance))).shots()
    assert [int(shots[name].sum()) for name in GROUPS] == expected["sizes"]
    ranges = [shots[name].nonzero()[:, 0].tolist() for name in GROUPS]
    assert [[found[0], found[-1]] if found else [] for found in ranges] == expected["class index ranges"]


def test_accuracies_equal_the_original_code(golden: Golden) -> None:
    inputs, case = case_of(golden, "shot_acc on a fixed table")
    found, expected = measured(inputs["test_labels"], inputs["test_preds"], inputs["train_counts"]), case["outputs"]
    assert (found["many"], found["medium"], found["few"]) == pytest.approx(
        (expected["many"], expected["median"], expected["low"]), rel=1e-12
    )
    assert found["accuracy"] == pytest.approx(expected["overall_micro"], rel=1e-12)
    assert found["error"] == pytest.approx(1 - expected["overall_micro"], rel=1e-12)
    assert found["macro"] == pytest.approx(expected["mean_of_class_acc"], rel=1e-12)
    assert found["per_class"] == pytest.approx(expected["per_class"], rel=1e-12)
    assert found["images"] == len(inputs["test_labels"])


def test_classes_without_test_images_do_not_count(golden: Golden) -> None:
    inputs, case = case_of(golden, "shot_acc when classes 3 and 9 do not occur in the test labels")
    kept = [
        (label, predicted)
        for label, predicted in zip(inputs["test_labels"], inputs["test_preds"], strict=True)
        if label not in (3, 9)
    ]
    labels, predicted = ([row[i] for row in kept] for i in (0, 1))
    found, expected = measured(labels, predicted, inputs["train_counts"]), case["outputs"]
    assert (found["many"], found["medium"], found["few"]) == pytest.approx(
        (expected["many"], expected["median"], expected["low"]), rel=1e-12
    )
    assert found["per_class"][3] is None and found["per_class"][9] is None
    present = [value for value in found["per_class"] if value is not None]
    assert present == pytest.approx(expected["per_class (8 classes, in order)"], rel=1e-12)
    assert found["macro"] == pytest.approx(sum(present) / 8, rel=1e-12)


def test_an_empty_group_is_none_and_not_zero_as_in_the_original_code(golden: Golden) -> None:
    _, case = case_of(golden, "empty groups give 0")
    inputs = case["inputs"]
    found = measured(inputs["labels"], inputs["preds"], inputs["train counts"])
    assert found["many"] == pytest.approx(case["outputs"]["many"], rel=1e-12)
    assert found["medium"] is None and found["few"] is None


def test_a_group_whose_classes_have_no_test_images_is_none() -> None:
    assert measured([0, 0], [0, 1], [500, 50, 5])["many"] == 0.5
    assert measured([0, 0], [0, 1], [500, 50, 5])["medium"] is None
    assert measured([0, 0], [0, 1], [500, 50, 5])["few"] is None


@pytest.mark.parametrize(("count", "group"), [(101, "many"), (100, "medium"), (20, "medium"), (19, "few"), (0, "few")])
def test_classes_of_20_to_100_images_are_medium(count: int, group: str) -> None:
    shots = ClassStats(torch.tensor([1000, count])).shots()
    assert {name for name in GROUPS if shots[name][1]} == {group}
    assert all(sum(bool(shots[name][c]) for name in GROUPS) == 1 for c in range(2))
    assert bool(ClassStats(torch.tensor([count])).shots(many=count, few=count)["medium"])


# --------------------------------------------------------------------------------------------------------------- sklearn


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_accuracies_equal_scikit_learn(classes: int, images: int, seed: int) -> None:
    from sklearn.metrics import accuracy_score, recall_score

    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (images,), generator=generator)
    scores = torch.randn(images, classes, generator=generator) + 1.5 * scores_of(labels, classes)
    counts = torch.randint(1, 300, (classes,), generator=generator)
    found = measure(scores, labels, ClassStats(counts))
    predicted, there = scores.argmax(1), labels.unique().tolist()
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted), rel=1e-12)
    recall = dict(zip(there, recall_score(labels, predicted, labels=there, average=None, zero_division=0), strict=True))
    assert found["macro"] == pytest.approx(sum(recall.values()) / len(there), rel=1e-12)
    assert [found["per_class"][c] for c in there] == pytest.approx(list(recall.values()), rel=1e-12)
    assert all(found["per_class"][c] is None for c in range(classes) if c not in there)
    for name, low, high in (("many", 101, math.inf), ("medium", 20, 100), ("few", 0, 19)):
        group = [value for c, value in recall.items() if low <= counts[c] <= high]
        assert found[name] == (pytest.approx(sum(group) / len(group), rel=1e-12) if group else None)
    assert 0 <= found["ece"] <= 1


def test_only_the_calibration_error_depends_on_the_scale_of_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(50, 5, generator=generator), torch.randint(0, 5, (50,), generator=generator)
    stats = ClassStats(torch.tensor([500, 200, 50, 20, 5]))
    first, second = measure(scores, labels, stats), measure(10 * scores - 3, labels, stats)
    assert first.pop("ece") != second.pop("ece")
    assert first == second


# ----------------------------------------------------------------------------------------------------------- calibration


def naive_ece(scores: Tensor, labels: Tensor, bins: int) -> float:
    """Guo et al., 2017, equations 2 and 3: bin m holds confidences in ((m - 1) / M, m / M]."""
    total = 0.0
    rows = [(math.exp(max(r) - max(r)) / math.fsum(math.exp(v - max(r)) for v in r), r.index(max(r))) for r in scores.tolist()]
    for m in range(1, bins + 1):
        inside = [(c, p == y) for (c, p), y in zip(rows, labels.tolist(), strict=True) if (m - 1) / bins < c <= m / bins]
        if inside:
            accuracy = sum(hit for _, hit in inside) / len(inside)
            confidence = math.fsum(c for c, _ in inside) / len(inside)
            total += len(inside) / len(rows) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bins", [1, 5, CALIBRATION_BINS])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
def test_calibration_error_equals_a_plain_loop(seed: int, bins: int, sharpness: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = sharpness * torch.randn(200, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (200,), generator=generator)
    assert expected_calibration_error(scores, labels, bins) == pytest.approx(naive_ece(scores, labels, bins), rel=1e-9)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_bin() -> None:
    """Confidence 0.5 and right, confidence 0.9 and wrong: in one bin the two gaps would partly cancel."""
    scores, labels = torch.tensor([[0.0, 0.0], [0.0, math.log(9)]], dtype=torch.float64), torch.tensor([0, 0])
    assert expected_calibration_error(scores, labels, bins=2) == pytest.approx((0.5 + 0.9) / 2)


def test_calibration_error_of_certain_and_of_uniform_scores() -> None:
    sure = torch.tensor([[100.0, -100.0], [100.0, -100.0]])
    assert expected_calibration_error(sure, torch.tensor([0, 0])) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(sure, torch.tensor([1, 1])) == pytest.approx(1.0)
    assert expected_calibration_error(sure, torch.tensor([0, 1])) == pytest.approx(0.5)
    even = torch.zeros(4, 4)
    assert expected_calibration_error(even, torch.tensor([0, 1, 2, 3])) == pytest.approx(0.0, abs=1e-12)


def test_nan_scores_are_refused_and_minus_infinity_is_not() -> None:
    labels, scores = torch.tensor([0, 1, 2]), torch.zeros(3, 3)
    stats = ClassStats(torch.tensor([3, 2, 1]))
    scores[:, 2] = -torch.inf  # a class that is ruled out
    assert measure(scores, labels, stats)["accuracy"] == pytest.approx(1 / 3)
    scores[1, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"not finite.*Lower optimizer\.lr"):
        measure(scores, labels, stats)


def test_calibration_error_in_pieces_equals_the_definition() -> None:
    """With so many classes the rows are taken in several pieces. The expected value is computed in numpy, in one piece."""
    torch.manual_seed(0)
    scores, labels = 4 * torch.randn(300, 8_142), torch.randint(8_142, (300,))
    labels[::2] = scores[::2].argmax(1)
    p = np.exp(scores.double().numpy() - scores.double().numpy().max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    confidence, right = p.max(1), p.argmax(1) == labels.numpy()
    edges = np.linspace(0, 1, 16)
    bins = [(confidence > low) & (confidence <= high) for low, high in pairwise(edges)]
    expected = sum(abs(right[b].mean() - confidence[b].mean()) * b.mean() for b in bins if b.any())
    assert expected_calibration_error(scores, labels) == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_metrics_of_batches_equal_metrics_of_all_rows(size: int, seed: int) -> None:
    torch.manual_seed(seed)
    stats = ClassStats(torch.tensor([200, 50, 30, 3]))
    scores, labels = torch.randn(40, 4), torch.randint(4, (40,))
    meter = SingleLabel().meter(stats, 100, 20)
    for some, right in zip(scores.split(size), labels.split(size), strict=True):
        meter.update(some, Labels.hard(right))
    assert meter.compute() == measure(scores, labels, stats)
