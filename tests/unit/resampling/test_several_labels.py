"""Samplers of rows with several labels: epochs of the class-aware sampler, probabilities of rows, rows without labels."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Sampler
from ltrun.resampling import (
    ClassAware,
    Deferred,
    DynamicCurriculum,
    EffectiveNumber,
    Instance,
    Power,
    Progressive,
    RepeatFactor,
)
from ltrun.resampling.members import members
from ltrun.resampling.power import power_probabilities
from ltrun.resampling.repeat_factor import label_repeat_factors
from ltrun.types import Clock, Labels, MultiHot

CLOCK = Clock("train", 0, 10)
HOT = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
CLASS_FIRST: dict[str, Callable[[], Sampler]] = {
    "class_aware": ClassAware,
    "class_balanced": Power,
    "square_root": lambda: Power(0.5),
    "reversed": lambda: Power(-1.0),
    "effective_number": EffectiveNumber,
    "progressive": Progressive,
    "dynamic_curriculum": DynamicCurriculum,
}


def drawn(sampler: Sampler, hot: Tensor, epoch: int = 0) -> Tensor:
    return sampler.draw(MultiHot(hot), Clock("train", epoch, 10), torch.Generator().manual_seed(epoch))


def test_every_class_has_its_turn_of_three_images_and_each_image_comes_before_one_repeats() -> None:
    torch.manual_seed(0)
    hot = torch.rand(400, 12) < torch.linspace(0.3, 0.02, 12)
    rows = drawn(ClassAware(images_per_turn=3, reduce=4), hot)
    largest = int(hot.sum(0).max())
    assert len(rows) == largest * 12 // 4
    turns = hot[rows[: len(rows) // 36 * 36]].reshape(-1, 12, 3, 12).all(2)  # (cycles, turns, classes): of all three images
    assert turns.any(2).all(), "the three images of a turn share a class"
    assert torch.equal(turns.any(1), torch.ones_like(turns.any(1))), "each cycle has a turn of every class"
    alone = torch.zeros(9, 2, dtype=torch.bool)
    alone[:7, 0], alone[6:, 1] = True, True
    first = drawn(ClassAware(images_per_turn=3), torch.cat([alone, alone]))[:18]
    assert len(first.unique()) >= 12


@pytest.mark.parametrize(("name", "classes", "largest", "length"), [("voc_lt", 20, 775, 3875), ("coco_lt", 80, 1128, 22560)])
def test_epochs_on_the_real_lists_have_the_published_lengths(
    name: str, classes: int, largest: int, length: int, shared_lists: Path
) -> None:
    lines = (shared_lists / name / f"{name}_train.txt").read_text().splitlines()
    hot = torch.zeros(len(lines), classes, dtype=torch.bool)
    for row, line in enumerate(lines):
        hot[row, [int(word) for word in re.split(r"\s+", line.strip())[1:]]] = True
    assert int(hot.sum(0).max()) == largest
    rows = drawn(ClassAware(images_per_turn=3, reduce=4), hot)
    assert len(rows) == length
    assert hot[rows].any(0).all()


@pytest.mark.parametrize("name", CLASS_FIRST)
def test_rows_without_labels_are_never_drawn_by_class(name: str) -> None:
    for epoch in (0, 9):
        rows = torch.cat([drawn(CLASS_FIRST[name](), HOT.repeat(20, 1), epoch) for _ in range(3)])
        assert rows.dtype == torch.int64 and not (rows % 6 == 3).any()
    assert 3 in drawn(Instance(), HOT) and 3 in drawn(RepeatFactor(num_classes=3), HOT)


@pytest.mark.parametrize("q", [-1.0, 0.0, 0.5, 1.0])
def test_a_row_comes_with_the_sum_of_its_classes_shares(q: float) -> None:
    counts = HOT.sum(0)
    expected = (HOT.double() * power_probabilities(counts, q) / counts).sum(1)
    assert float(expected.sum()) == pytest.approx(1.0)
    repeats = 4000
    hot = HOT.repeat(repeats, 1)
    found = torch.bincount(drawn(Power(q), hot) % 6, minlength=6) / len(hot)
    torch.testing.assert_close(found.double(), expected, atol=0.012, rtol=0)


def test_effective_numbers_draw_an_image_by_the_sum_over_its_labels() -> None:
    hot = HOT.repeat(2000, 1)
    counts = hot.sum(0).double()
    effective = (1 - 0.999**counts) / (1 - 0.999)
    expected = (hot.double() / effective).sum(1)[:6]
    found = torch.bincount(drawn(EffectiveNumber(0.999), hot) % 6, minlength=6).double()
    torch.testing.assert_close(found / found.sum(), expected / expected.sum(), atol=0.015, rtol=0)


def test_repeat_factors_follow_the_rarest_label() -> None:
    factors = label_repeat_factors(MultiHot(HOT), 0.5)
    frequency = torch.tensor([5 / 6, 2 / 6, 1 / 6], dtype=torch.float64)
    classes = (0.5 / frequency).sqrt().clamp(min=1)
    expected = torch.stack([classes[row].max() if row.any() else torch.tensor(1.0) for row in HOT]).double()
    torch.testing.assert_close(factors, expected)


def test_one_label_a_row_draws_the_same_rows_in_both_forms() -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 2, 0, 1])
    hot = torch.nn.functional.one_hot(labels).bool()
    samplers = [make() for make in CLASS_FIRST.values()] + [Deferred(Power(), start=0.0), RepeatFactor(num_classes=3)]
    for sampler in samplers:
        one, several = (sampler.draw(t, CLOCK, torch.Generator().manual_seed(3)) for t in (Labels.hard(labels), MultiHot(hot)))
        assert torch.equal(one, several), type(sampler).__name__
        assert MULTI_LABEL in sampler.accepts


def test_data_without_any_label_and_wrong_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="no training image has a label"):
        members(MultiHot(torch.zeros(4, 2, dtype=torch.bool)), torch.Generator())
    with pytest.raises(ConfigError, match="reduce must be above 0, or null"):
        ClassAware(reduce=0)
