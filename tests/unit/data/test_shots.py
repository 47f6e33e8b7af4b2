"""A tail of a few images a class: counts on CIFAR-100 and digits, images, validation, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltrun.data import CIFARLT, DigitsLT, ImageFolder
from ltrun.data.profiles import LongTail, Profile, exponential, fit
from ltrun.errors import ConfigError
from ltrun.results.address import fingerprint
from tests.support.data_fakes import CPU, cifar_parquet, class_folders

CIFAR = np.full(100, 500)
PROFILES: list[Profile] = ["exponential", "step", "pareto", "as_is"]


@pytest.mark.parametrize("shots", [1, 5])
def test_on_cifar100_the_head_is_full_and_the_tail_has_so_many_images(shots: int) -> None:
    assert fit("step", CIFAR, 100, shots=shots).tolist() == [500] * 50 + [shots] * 50
    assert fit("as_is", CIFAR, 100, shots=shots).tolist() == [500] * 50 + [shots] * 50
    head = exponential(100, 500, 100)[:50].tolist()
    assert fit("exponential", CIFAR, 100, shots=shots).tolist() == [*head, *[shots] * 50]


def test_digits_keep_as_many_images_in_each_head_class_as_the_smallest_of_these_has() -> None:
    splits = DigitsLT("step", shots=5).open(CPU)
    assert splits.stats.counts.tolist() == [127] * 5 + [5] * 5
    assert torch.bincount(splits.test.targets.labels).tolist() == [50] * 10
    assert DigitsLT(shots=1).open(CPU).stats.counts.tolist() == [128, 89, 62, 43, 30, 1, 1, 1, 1, 1]


def test_the_tail_does_not_limit_the_head() -> None:
    available = np.array([60, 40, 2, 3])
    assert fit("step", available, 1, shots=2).tolist() == [40, 40, 2, 2]
    assert fit("step", available, 1).tolist() == [2, 2, 2, 2]


def test_the_tail_is_the_second_half_by_size_where_classes_have_sizes_of_their_own(tmp_path: Path) -> None:
    available = np.array([12, 60, 30, 150, 11])
    assert fit("as_is", available, 100, by_size=True, shots=3).tolist() == [3, 60, 3, 150, 3]
    class_folders(tmp_path, {"a": 5, "b": 12, "c": 8, "d": 10}, size=8)
    counts = ImageFolder(str(tmp_path), image_size=8, profile="step", shots=2).open(CPU).stats.counts.tolist()
    assert counts == [2, 8, 2, 8]  # a fifth of each class is for testing


@given(
    st.sampled_from(PROFILES),
    st.lists(st.integers(5, 40), min_size=1, max_size=9),
    st.floats(1, 5),
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
)
def test_images_are_the_first_of_each_class_and_validation_is_apart(
    profile: Profile, sizes: list[int], imbalance: float, shots: int, held: int, by_size: bool
) -> None:
    names = [str(c) for c in range(len(sizes))]
    labels = np.random.RandomState(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    order = np.argsort(-np.array(sizes), kind="stable") if by_size else np.arange(len(sizes))
    tail = order[len(sizes) // 2 :]
    try:
        train, val = LongTail(profile, imbalance, held, shots).split(labels, names, by_size)
    except ConfigError as refusal:  # the head keeps too few
        most = int(re.findall(r"dataset\.shots=(\d+)", str(refusal))[0])
        assert most < shots
        if most:
            LongTail(profile, imbalance, held, most).split(labels, names, by_size)
        return
    counts = np.bincount(labels[train], minlength=len(sizes))
    assert (counts[tail] == shots).all() and counts.min() == shots
    assert (np.bincount(labels[val], minlength=len(sizes)) == held).all() and not set(train) & set(val)
    alone, _ = LongTail(profile, imbalance, 0, shots).split(labels, names, by_size)
    few = np.isin(labels, tail)
    assert set(train[few[train]]) == set(alone[few[alone]])  # the tail's images are the same without validation


@pytest.mark.parametrize(
    ("profile", "available", "shots", "said"),
    [
        ("step", [50, 40, 30, 20], 21, "a class of the tail has, 20: give dataset.shots=20 or less"),
        ("exponential", [50, 50, 50, 50], 40, "a class before the tail keeps, 10: give dataset.shots=10 or less"),
        ("as_is", [50, 1, 50, 50], 2, "a class before the tail keeps, 1: give dataset.shots=1$"),
    ],
)
def test_more_shots_than_the_head_keeps_are_refused(profile: Profile, available: list[int], shots: int, said: str) -> None:
    with pytest.raises(ConfigError, match=f"shots={shots} is more than {said}"):
        fit(profile, np.array(available), 100, shots=shots)


def test_validation_images_are_not_there_for_the_tail() -> None:
    labels = np.repeat(np.arange(4), 10)
    assert len(LongTail("step", 100, 4, 6).split(labels, "abcd")[0]) == 24
    with pytest.raises(ConfigError, match=r"shots=7 .* give dataset\.shots=6 or less"):
        LongTail("step", 100, 4, 7).split(labels, "abcd")


def test_values_without_sense_or_effect_are_refused(tmp_path: Path) -> None:
    for shots in (0, -5):
        with pytest.raises(ConfigError, match=f"shots must be at least 1, .* got {shots}"):
            LongTail("step", shots=shots)
    with pytest.raises(ConfigError, match=r"profile=balanced .* give dataset.profile=step, or remove dataset\.shots"):
        DigitsLT("balanced", shots=5)
    with pytest.raises(ConfigError, match=r"imbalance is 10 and has no effect with profile=step and shots=5"):
        DigitsLT("step", imbalance=10, shots=5)
    cifar_parquet(tmp_path)
    with pytest.raises(ConfigError, match=r"imbalance is 10 and has no effect with profile=step and shots=5"):
        CIFARLT(10, str(tmp_path), "step", 10, shots=5).open(CPU)
    with pytest.raises(ConfigError, match=r"shots chooses a number of images .* give dataset\.shots=null"):
        ImageFolder(str(tmp_path), task="multi_label", shots=5)


def test_shots_are_part_of_an_address_and_null_is_not() -> None:
    node = {"_target_": "ltrun.data.DigitsLT", "profile": "step"}
    assert fingerprint({"dataset": {**node, "shots": None}}) == fingerprint({"dataset": node})
    assert fingerprint({"dataset": {**node, "shots": 5}}) != fingerprint({"dataset": node})
