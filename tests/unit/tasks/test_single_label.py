"""Accuracies and shot groups as the literature computes them, calibration as it is defined, evidence that hides test labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ltrun.augmentation import CropFlip
from ltrun.classifier import Linear
from ltrun.data.profiles import exponential
from ltrun.engine.evidence import SplitEvidence, fit
from ltrun.errors import TrainingError
from ltrun.network import Experts, Plain, ResNetCIFAR
from ltrun.parts import Evidence, Network, PostHoc
from ltrun.tasks.calibration import CALIBRATION_BINS, expected_calibration_error
from ltrun.tasks.single_label import measure, plain_scores
from ltrun.types import ClassStats, Outputs
from tests.support.cases import FP32, digits, normaliser

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
def test_the_groups_of_cifar100_are_those_of_convention_a(imbalance: int, golden: Golden) -> None:
    """More than 100, 20 to 100, fewer than 20; class indices are inclusive in the file."""
    _, case = case_of(golden, f"CIFAR-100-LT IF={imbalance}")
    (expected,) = [value for key, value in case["outputs"].items() if key.startswith("A:")]
    shots = ClassStats(torch.from_numpy(exponential(100, 500, imbalance))).shots()
    assert [int(shots[name].sum()) for name in GROUPS] == expected["sizes"]
    ranges = [shots[name].nonzero()[:, 0].tolist() for name in GROUPS]
    assert [[found[0], found[-1]] if found else [] for found in ranges] == expected["class index ranges"]


def test_the_accuracies_are_those_of_the_original_code(golden: Golden) -> None:
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
    labels, predicted = map(list, zip(*kept, strict=True))
    found, expected = measured(labels, predicted, inputs["train_counts"]), case["outputs"]
    assert (found["many"], found["medium"], found["few"]) == pytest.approx(
        (expected["many"], expected["median"], expected["low"]), rel=1e-12
    )
    assert found["per_class"][3] is None and found["per_class"][9] is None
    present = [value for value in found["per_class"] if value is not None]
    assert present == pytest.approx(expected["per_class (8 classes, in order)"], rel=1e-12)
    assert found["macro"] == pytest.approx(sum(present) / 8, rel=1e-12)


def test_an_empty_group_is_none_and_not_the_zero_of_the_original(golden: Golden) -> None:
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
def test_the_limits(count: int, group: str) -> None:
    shots = ClassStats(torch.tensor([1000, count])).shots()
    assert {name for name in GROUPS if shots[name][1]} == {group}
    assert all(sum(bool(shots[name][c]) for name in GROUPS) == 1 for c in range(2))
    assert bool(ClassStats(torch.tensor([count])).shots(many=count, few=count)["medium"])


# --------------------------------------------------------------------------------------------------------------- sklearn


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_accuracies_are_those_of_scikit_learn(classes: int, images: int, seed: int) -> None:
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


def test_metrics_do_not_depend_on_the_scale_of_scores_but_for_calibration() -> None:
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
def test_calibration_error_against_a_plain_loop(seed: int, bins: int, sharpness: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = sharpness * torch.randn(200, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (200,), generator=generator)
    assert expected_calibration_error(scores, labels, bins) == pytest.approx(naive_ece(scores, labels, bins), rel=1e-9)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_one() -> None:
    """Half sure and right, nearly sure and wrong: in one bin they would cancel."""
    scores, labels = torch.tensor([[0.0, 0.0], [0.0, math.log(9)]], dtype=torch.float64), torch.tensor([0, 0])
    assert expected_calibration_error(scores, labels, bins=2) == pytest.approx((0.5 + 0.9) / 2)


def test_calibration_error_at_the_edges() -> None:
    sure = torch.tensor([[100.0, -100.0], [100.0, -100.0]])
    assert expected_calibration_error(sure, torch.tensor([0, 0])) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(sure, torch.tensor([1, 1])) == pytest.approx(1.0)
    assert expected_calibration_error(sure, torch.tensor([0, 1])) == pytest.approx(0.5)
    even = torch.zeros(4, 4)
    assert expected_calibration_error(even, torch.tensor([0, 1, 2, 3])) == pytest.approx(0.0, abs=1e-12)


# -------------------------------------------------------------------------------------------------------------- evidence


def network(kind: str = "plain") -> Network:
    torch.manual_seed(0)
    backbone = ResNetCIFAR(8, 4, in_channels=1)

    def make_head(features: int) -> Linear:
        return Linear(features=features, num_classes=10)

    if kind == "experts":
        return Experts(width=1.0, backbone=backbone, make_head=make_head)
    return Plain(backbone=backbone, make_head=make_head)


def evidence(size: int = 16, hidden: bool = False, kind: str = "plain", augment: Any = None) -> SplitEvidence:
    return SplitEvidence(network(kind), normaliser(), augment, digits()[1], size, 0, FP32, hidden)


@pytest.mark.parametrize("kind", ["plain", "experts"])
def test_outputs_are_those_of_the_whole_split_in_order_whatever_the_batch_size(kind: str) -> None:
    store = digits()[1]
    whole = network(kind).eval().predict(normaliser()(store.images))
    for size in (1, 7, 30, 100):
        found = evidence(size, kind=kind).outputs()
        for name in ("features", "logits", "experts"):
            expected, value = getattr(whole, name), getattr(found, name)
            assert (expected is None) == (value is None)
            if value is not None:
                torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
                assert not value.requires_grad and value.device.type == "cpu"
    assert torch.equal(evidence().labels, store.targets.primary)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_network_as_it_was(training: bool) -> None:
    split = evidence()
    split.network.train(training)
    before = {name: tensor.clone() for name, tensor in split.network.state_dict().items()}
    state = torch.get_rng_state()
    split.outputs()
    assert torch.equal(torch.get_rng_state(), state), "evaluating must not change what is drawn next"
    assert all(torch.equal(tensor, before[name]) for name, tensor in split.network.state_dict().items())
    assert all(module.training is training for module in split.network.modules())


def test_augmented_outputs_are_a_new_draw_each_epoch_and_the_same_again() -> None:
    split = evidence(augment=CropFlip(2, flip=False))
    draws = [plain_scores(split.outputs(augment=True, epoch=epoch)) for epoch in (0, 1, 0)]
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], plain_scores(split.outputs()))
    assert torch.equal(plain_scores(split.outputs()), plain_scores(evidence().outputs())), "the clean ones stay clean"


def test_test_labels_are_out_of_reach() -> None:
    with pytest.raises(PermissionError, match="never test labels"):
        _ = evidence(hidden=True).labels


class Curious(PostHoc):
    sees = frozenset({"train"})

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        self.shown = sorted(splits)

    def forward(self, outputs: Outputs) -> Tensor:
        return plain_scores(outputs)


def test_a_post_hoc_part_is_shown_what_it_declares_and_no_more() -> None:
    everything: dict[str, Evidence] = {"train": evidence(), "val": evidence(), "test_inputs": evidence(hidden=True)}
    part = Curious()
    fit(part, everything)
    assert part.shown == ["train"]


def test_scores_of_a_network_that_diverged_are_one_sentence() -> None:
    labels, scores = torch.tensor([0, 1, 2]), torch.zeros(3, 3)
    stats = ClassStats(torch.tensor([3, 2, 1]))
    scores[:, 2] = -torch.inf  # a class that is ruled out
    assert measure(scores, labels, stats)["accuracy"] == pytest.approx(1 / 3)
    scores[1, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"not finite.*Lower optimizer\.lr"):
        measure(scores, labels, stats)


def test_calibration_in_pieces_is_that_of_the_whole() -> None:
    """So many classes that the rows are taken in several pieces, against the definition in numpy."""
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
