"""Scenes of several digits: label counts, co-occurrence, disjoint digits, scenes without a digit, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ltrun.data import DigitScenes, Resident
from ltrun.data.digit_scenes import long_tailed, once
from ltrun.data.profiles import exponential
from ltrun.errors import ConfigError
from tests.support.narrow import of_type

CPU = torch.device("cpu")


def quadrants(store: Resident) -> set[bytes]:
    """The digits of a split, as bytes."""
    parts = store.images.unfold(2, 8, 8).unfold(3, 8, 8).reshape(-1, 64)
    return {part.numpy().tobytes() for part in parts if part.any()}


def test_the_classes_are_long_tailed_in_training_and_even_in_the_other_splits() -> None:
    splits = DigitScenes(validation_per_class=20).open(CPU)
    train, val, test = (of_type(Resident, store) for store in (splits.train, splits.val, splits.test))
    assert splits.stats.counts.tolist() == exponential(10, 250, 50).tolist() == [250, 161, 104, 67, 43, 28, 18, 11, 7, 5]
    assert splits.stats.images == len(train) == 350
    for store, each in ((val, 20), (test, 50)):
        labels = store.targets.labels
        assert labels.sum(0).tolist() == [each] * 10
        assert 0.04 < (labels.sum(1) == 0).float().mean() < 0.06, "a few scenes have no digit"
    assert train.targets.labels.sum(1).min() == 1
    assert {len(each) for each in splits.stats.shots(99, 20).values()} == {10}
    assert [int(each.sum()) for each in splits.stats.shots(99, 20).values()] == [3, 3, 4]


def test_a_scene_shows_its_labels_and_the_splits_share_no_digit() -> None:
    splits = DigitScenes(validation_per_class=20).open(CPU)
    stores = [of_type(Resident, store) for store in (splits.train, splits.val, splits.test)]
    for store in stores:
        shown = store.images.unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2).any(-1).sum((1, 2, 3))
        assert torch.equal(shown, store.targets.labels.sum(1)) and shown.max() == 4
    train, val, test = map(quadrants, stores)
    assert not train & val and not train & test and not val & test
    assert len(val) == 200 and len(test) == 500, "each digit lies in one scene"


def test_rare_classes_come_together_with_frequent_ones() -> None:
    labels = DigitScenes().open(CPU).train.targets.labels
    rare, frequent = labels[:, 6:].any(1), labels[:, :3].any(1)
    assert (rare & frequent).sum() > 0.8 * rare.sum()


@pytest.mark.parametrize("imbalance", [1, 4, 25, 250])
def test_no_scene_is_empty_or_has_more_than_four_digits_in_training(imbalance: float) -> None:
    counts = exponential(10, 250, imbalance)
    hot = long_tailed(counts, 350)
    assert np.array_equal(hot.sum(0), counts) and hot.sum(1).min() == 1 and hot.sum(1).max() <= 4


@pytest.mark.parametrize("per_class", [1, 2, 123])
def test_each_class_occurs_equally_often_in_other_splits(per_class: int) -> None:
    hot = once(per_class)
    assert hot.sum(0).tolist() == [per_class] * 10 and hot.sum(1).max() <= 4 and not hot[-1].any()


def test_the_scenes_do_not_change() -> None:
    first, again = (of_type(Resident, DigitScenes(60.0).open(CPU).train) for _ in range(2))
    assert torch.equal(first.images, again.images) and torch.equal(first.targets.labels, again.targets.labels)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"imbalance": 0.02}, "imbalance is n_max / n_min and must be at least 1"),
        ({"imbalance": 300}, "imbalance must be at most 250"),
        ({"test_per_class": 0}, "test_per_class must be at least 1"),
        ({"validation_per_class": -1}, "validation_per_class must be 0 or more"),
        ({"validation_per_class": 100, "test_per_class": 80}, "must add up to less than 174"),
    ],
)
def test_values_without_sense_are_refused(arguments: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DigitScenes(**arguments)  # type: ignore[arg-type]
