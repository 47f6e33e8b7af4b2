"""Average precision and F1 of several labels per row against golden values, and average precision against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ltrun.tasks.average_precision import average_precision, average_precision_in_order
from ltrun.tasks.multi_label import PrecisionMeter
from ltrun.types import ClassStats, MultiHot
from tests.support.golden import Golden


def measured(scores: Tensor, targets: Tensor, counts: list[int] | None = None, **limits: int) -> dict[str, object]:
    stats = ClassStats(torch.tensor(counts or [200, 200, 50, 50, 5, 5]), rows=300)
    meter = PrecisionMeter(stats, **limits)
    for some in torch.arange(len(scores)).split(4):  # in batches, as a run measures
        meter.update(scores[some], MultiHot(targets[some].bool()))
    return meter.compute()


def test_metrics_of_the_distribution_balanced_code(golden: Golden) -> None:
    """Cases `eval_map / eval_F1 / eval_acc` and `split mAP for classes [0,3]`; its accuracy of entries is left out."""
    data = golden("map_multilabel")
    whole, part = (case["outputs"] for case in data["cases"][:2])
    scores, targets = (torch.tensor(data["inputs"][name], dtype=torch.float64) for name in ("scores", "targets"))
    found = measured(scores, targets, [200, 50, 50, 200, 50, 50])
    assert found["per_class"] == pytest.approx(whole["AP"], rel=1e-9)
    assert found["map"] == pytest.approx(whole["mAP"], rel=1e-9)
    assert found["micro_f1"] == pytest.approx(whole["micro_f1"], rel=1e-9)
    assert found["macro_f1"] == pytest.approx(whole["macro_f1"], rel=1e-9)
    assert found["many"] == pytest.approx(part["mAP"], rel=1e-9)  # classes 0 and 3
    assert found["few"] is None


def by_definition(scores: list[float], positive: list[bool]) -> float:
    """AP by its definition: over the distinct thresholds, precision times the gain of recall."""
    total, area, before = sum(positive), 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [p for s, p in zip(scores, positive, strict=True) if s >= threshold]
        recall = sum(chosen) / total
        area, before = area + (recall - before) * sum(chosen) / len(chosen), recall
    return area


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_with_ties_is_its_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (40,), generator=generator).float()
    positive = torch.rand(40, generator=generator) < 0.3
    positive[0] = True
    assert average_precision(scores, positive) == pytest.approx(by_definition(scores.tolist(), positive.tolist()), rel=1e-12)
    order = torch.randperm(40, generator=generator)  # ties share a threshold, so the order of rows does not matter
    assert average_precision(scores[order], positive[order]) == pytest.approx(average_precision(scores, positive), rel=1e-12)


def test_average_precision_in_order_takes_equal_scores_in_the_order_of_rows() -> None:
    positive = torch.tensor([True, False, True])
    assert average_precision_in_order(torch.tensor([1.0, 1.0, 0.0]), positive) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision_in_order(torch.tensor([1.0, 1.0, 2.0]), positive) == pytest.approx(1.0)


def test_a_class_without_positives_is_left_out_of_one_map_and_zero_in_the_other() -> None:
    scores = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, -1.0], [2.0, -1.0, -2.0]])
    targets = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    found = measured(scores, targets, [200, 50, 5])
    assert found["map"] == 1.0 and found["map_videolt"] == pytest.approx(2 / 3)
    assert found["few"] is None and found["videolt_few"] == 0.0
    assert found["per_class"] == [1.0, 1.0, None] and found["classes"] == 2 and found["positives"] == [2, 1, 0]
    assert found["per_class_recall"] == [1.0, 1.0, None] and found["per_class_precision"] == [2 / 3, 0.5, None]
    assert found["cf1"] == pytest.approx(2 * (7 / 12) / (7 / 12 + 1))  # CP 7/12, CR 1
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2) and found["micro_precision"] == 0.6


def test_rows_without_labels_count_for_ap_and_not_for_the_likeliest_class() -> None:
    scores = torch.tensor([[3.0, 1.0], [1.0, 2.0], [4.0, -1.0]])
    found = measured(scores, torch.tensor([[1, 0], [1, 1], [0, 0]]), [200, 5])
    assert found["accuracy_1"] == 1.0 and found["images"] == 3
    assert found["per_class"] == [pytest.approx((1 / 2 + 2 / 3) / 2), 1.0]


def test_a_class_of_exactly_one_hundred_images_is_head_with_the_limits_of_voc_lt() -> None:
    scores, targets = torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, 0.5]]), torch.tensor([[1, 1, 1], [0, 0, 1]])
    found = measured(scores, targets, [100, 99, 19], many=99, few=20)
    assert (found["many"], found["medium"], found["few"]) == (1.0, 0.5, 1.0)


def test_scores_that_are_not_finite_are_refused_and_minus_infinity_is_not() -> None:
    targets = torch.tensor([[1, 0], [0, 1]])
    found = measured(torch.tensor([[1.0, -math.inf], [0.0, -math.inf]]), targets, [5, 5])
    assert found["per_class"] == [1.0, 0.5]
    with pytest.raises(Exception, match="not finite"):
        measured(torch.tensor([[1.0, math.nan], [0.0, 0.0]]), targets, [5, 5])
