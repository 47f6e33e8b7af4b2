"""Repeat factors against the original authors' numbers; the other samplers' probabilities against published formulae."""

import math
from typing import get_args

import pytest
import torch

from ltrun.resampling import DynamicCurriculum, EffectiveNumber
from ltrun.resampling.class_difficulty import difficulty_probabilities
from ltrun.resampling.dynamic_curriculum import Schedule, curriculum_exponent
from ltrun.resampling.effective_number import effective_number_probabilities
from ltrun.resampling.repeat_factor import (
    class_repeat_factors,
    label_repeat_factors,
    multi_hot_repeat_factors,
    repeat_factors,
)
from ltrun.types import Labels
from tests.support.golden import Golden, close, every_case

COUNTS = [500, 107, 23, 5, 1]


def test_repeat_factors(golden: Golden) -> None:
    data = golden("repeat_factor_sampling")
    lists: list[list[int]] = data["inputs"]["images (categories of each annotation)"]
    pairs = [(image, category) for image, categories in enumerate(lists) for category in categories]
    images, categories = torch.tensor(pairs).T
    present = torch.zeros(len(lists), 4, dtype=torch.int64).index_put_(
        (images, categories), torch.tensor(1), accumulate=True
    )  # 2 for a class that an image has twice
    with every_case(data, {}) as take:
        for name in [case["name"] for case in data["cases"]]:
            case = take(name)
            threshold, root = case["hyperparameters"]["repeat_thresh"], case["hyperparameters"]["sqrt"]
            outputs = case["outputs"]
            frequency = (present > 0).double().mean(0)
            close(frequency, list(outputs["category_frequency"].values()), 1e-9)
            close(class_repeat_factors(frequency, threshold, root), list(outputs["category_repeat"].values()), 1e-9)
            factors = repeat_factors(images, categories, len(lists), threshold, root)
            assert factors.dtype == torch.float64
            close(factors, outputs["image_repeat_factor"], 1e-7)  # the original stores float32
            for multi_hot in (present, present > 0, (present > 0).float()):
                assert torch.equal(multi_hot_repeat_factors(multi_hot, threshold, root), factors)


def test_repeat_factors_of_label_columns() -> None:
    """A column of weight 0 is no label; an image with one label has r = max(1, sqrt(t / f_y))."""
    index = torch.tensor([[0, 1], [0, 2], [1, 1], [0, 0]])
    weight = torch.tensor([[0.7, 0.3], [1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    present = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]])
    factors = label_repeat_factors(Labels(index, weight), 0.9)
    assert torch.equal(factors, multi_hot_repeat_factors(present, 0.9))
    close(factors, [math.sqrt(0.9 / 0.5), math.sqrt(0.9 / 0.75), math.sqrt(0.9 / 0.5), math.sqrt(0.9 / 0.75)], 1e-12)
    labels = torch.arange(5).repeat_interleave(torch.tensor(COUNTS))
    expected = [max(1.0, math.sqrt(0.2 * 636 / n)) for n in COUNTS for _ in range(n)]
    close(label_repeat_factors(Labels.hard(labels), 0.2), expected, 1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99, 0.9999])
def test_effective_number_probabilities(beta: float) -> None:
    """Cui et al., equation 2: E_n = (1 - beta ** n) / (1 - beta), summed as a series; an image has weight 1 / E_n."""
    each = [1 / sum(beta**i for i in range(n)) for n in COUNTS]
    total = sum(n * weight for n, weight in zip(COUNTS, each, strict=True))
    expected = [n * weight / total for n, weight in zip(COUNTS, each, strict=True)]
    close(effective_number_probabilities(torch.tensor(COUNTS), beta), expected, 1e-9)
    with_absent = effective_number_probabilities(torch.tensor([*COUNTS, 0]), beta)
    close(with_absent, [*expected, 0.0], 1e-9)


def test_effective_number_goes_from_instance_to_class_balanced() -> None:
    counts = torch.tensor(COUNTS)
    close(effective_number_probabilities(counts, 0.0), (counts / counts.sum().double()).tolist(), 1e-12)
    close(effective_number_probabilities(counts, 1 - 1e-9), [0.2] * 5, 1e-4)
    assert EffectiveNumber().beta == 0.9999


def test_curriculum_exponents() -> None:
    """Wang et al., section 3.1: the four scheduler functions; the concave function has lambda = 0.99 and 300 epochs."""
    floor = 0.99**300
    for epoch in (0, 1, 75, 150, 299, 300):
        progress = epoch / 300
        angle = torch.tensor(progress, dtype=torch.float64) * torch.pi
        expected = {
            "convex": torch.cos(angle / 2).item(),
            "linear": (300 - epoch) / 300,
            "concave": 0.99**epoch,
            "composite": 0.5 * torch.cos(angle).item() + 0.5,
        }
        assert set(expected) == set(get_args(Schedule))
        for schedule in get_args(Schedule):
            assert curriculum_exponent(progress, schedule, floor) == pytest.approx(expected[schedule], rel=1e-12, abs=1e-15)
    assert DynamicCurriculum().schedule == "convex"


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, None])
def test_difficulty_probabilities(tau: float | None) -> None:
    """Sinha et al.: d_c = 1 - A_c, p_c = d_c ** tau / sum d ** tau; their code has tau = sigmoid(max A / (min A + 0.01))."""
    accuracy = [0.95, 0.8, 0.5, 0.25]
    power = 1 / (1 + math.exp(-0.95 / (0.25 + 0.01))) if tau is None else tau
    expected = [(1 - a) ** power / sum((1 - b) ** power for b in accuracy) for a in accuracy]
    close(difficulty_probabilities(1 - torch.tensor(accuracy, dtype=torch.float64), tau, 0.01), expected, 1e-12)
    close(difficulty_probabilities(1 - torch.tensor(accuracy), tau, 0.01), expected, 2e-5)


def test_classes_are_equally_likely_when_none_has_been_seen_or_all_are_learnt() -> None:
    """A class without misses has the difficulty `floor`, not 0, so that it is still drawn."""
    for difficulty in (torch.zeros(3), torch.ones(3)):
        close(difficulty_probabilities(difficulty, None, 0.1), [1 / 3] * 3, 1e-6)
    close(difficulty_probabilities(torch.tensor([0.0, 0.05, 0.5]), 1.0, 0.1), [1 / 7, 1 / 7, 5 / 7], 1e-6)
