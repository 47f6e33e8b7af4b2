"""Test sets of other class distributions: SADE's sizes and images, order by training size, and splits without such sets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ltrun.errors import DataError
from ltrun.evaluation.shifts import Shifts, class_sizes, ranks_of

CIFAR = {2: 7166, 5: 4932, 10: 3876, 25: 2956, 50: 2486}  # published sizes for CIFAR-100
Integers = NDArray[np.int64]


def drawn(labels: Integers, ratio: int, backward: bool) -> Integers:
    """The rows that SADE's code keeps: numpy's global generator with seed 0, classes in label order, one shuffle a class."""
    classes = np.unique(labels)
    last, each = len(classes) - 1, len(labels) / len(classes)
    before = np.random.get_state()
    try:
        np.random.seed(0)
        kept = []
        for c in classes.tolist():
            rows = np.where(labels == c)[0]
            np.random.shuffle(rows)
            kept.append(
                rows[
                    : int(each * {2: 0.5, 5: 0.2, 10: 0.1, 25: 0.04, 50: 0.02}[ratio] ** ((last - c if backward else c) / last))
                ]
            )
    finally:
        np.random.set_state(before)
    return np.sort(np.concatenate(kept))


@pytest.fixture(scope="module")
def cifar() -> tuple[Integers, Integers]:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(100), 100))
    return labels, np.array([int(500 * 0.01 ** (c / 99)) for c in range(100)])


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("ratio", CIFAR)
def test_images_of_cifar_are_those_of_sade(cifar: tuple[Integers, Integers], ratio: int, backward: bool) -> None:
    labels, counts = cifar
    found = Shifts(labels, counts).rows(ratio, backward)
    assert len(found) == CIFAR[ratio]
    assert found.tolist() == drawn(labels, ratio, backward).tolist()


def test_uniform_is_the_whole_split(cifar: tuple[Integers, Integers]) -> None:
    sets = Shifts(*cifar)
    assert sets.rows(1).tolist() == list(range(10_000)) and sets.equal and sets.ratios == (50, 25, 10, 5, 2)


def test_sizes_follow_training_sizes_where_labels_do_not(cifar: tuple[Integers, Integers]) -> None:
    labels, counts = cifar
    order = np.random.default_rng(2).permutation(100)
    found = np.bincount(labels[Shifts(labels, counts[order]).rows(50)], minlength=100)
    assert (np.diff(found[np.argsort(-counts[order], kind="stable")]) <= 0).all() and found.sum() == CIFAR[50]
    mirrored = np.bincount(labels[Shifts(labels, counts[order]).rows(50, backward=True)], minlength=100)
    assert (np.diff(mirrored[np.argsort(-counts[order], kind="stable")]) >= 0).all()


def test_classes_of_equal_training_size_stay_in_label_order() -> None:
    assert ranks_of(np.array([5, 9, 5, 9])).tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize(
    ("classes", "each", "sizes"),
    [
        (1000, 50, {2: 35_574, 5: 24_365, 10: 19_059, 25: 14_437, 50: 12_058}),  # the lists of ImageNet-LT
        (365, 100, {2: 26_155, 5: 17_970, 10: 14_103, 25: 10_727, 50: 8_989}),  # the lists of Places-LT
        (8142, 3, {2: 12_906, 3: 11_148}),  # iNaturalist 2018; the list of ratio 3 has 11,147, or 11,137 backward
    ],
)
def test_sizes_are_those_of_the_published_lists(classes: int, each: int, sizes: dict[int, int]) -> None:
    found = {ratio: int(class_sizes(np.arange(classes), each, ratio, False).sum()) for ratio in sizes}
    assert found == sizes
    assert Shifts(np.repeat(np.arange(classes), each), np.arange(classes)).ratios == tuple(sorted(sizes, reverse=True))


def test_unequal_classes_give_as_many_as_the_smallest_has() -> None:
    labels = np.repeat(np.arange(4), [12, 10, 30, 11])
    sets = Shifts(labels, np.array([40, 30, 20, 10]))
    assert (sets.each, sets.equal, sets.ratios) == (10, False, (10, 5, 2))
    assert np.bincount(labels[sets.rows(1)]).tolist() == [10] * 4
    assert np.bincount(labels[sets.rows(10)]).tolist() == [10, 4, 2, 1]
    assert np.bincount(labels[sets.rows(10, backward=True)]).tolist() == [1, 2, 4, 10]


@pytest.mark.parametrize(
    ("support", "said"), [([3, 0, 2], "1 of 3 classes have no test image"), ([3, 1], "a single test image")]
)
def test_a_split_without_such_sets_is_refused(support: list[int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Shifts(np.repeat(np.arange(len(support)), support), np.array(support))


@pytest.mark.skipif("LTRUN_SHARED" not in os.environ, reason="LTRUN_SHARED does not name the folder with CIFAR-100")
def test_images_of_the_official_test_file() -> None:
    file = Path(os.environ["LTRUN_SHARED"]) / "data" / "cifar100" / "test.parquet"
    from pyarrow import parquet

    labels = np.array(parquet.read_table(file, columns=["fine_label"])["fine_label"].to_pylist())
    counts = json.loads((file.parent / "ldam_exp_ir100_seed0.json").read_bytes())["cls_num_list"]
    for backward in (False, True):
        for ratio, images in CIFAR.items():
            found = Shifts(labels, np.array(counts)).rows(ratio, backward)
            assert len(found) == images and found.tolist() == drawn(labels, ratio, backward).tolist()
