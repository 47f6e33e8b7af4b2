"""Long-tailed profiles: training splits with the counts and the rows of the literature, and their validation splits."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltrun.data.profiles import LongTail, Profile, exponential, fit, hold_out, pareto, refuse_ignored, share, shuffled, step
from ltrun.errors import ConfigError, DataError
from tests.support.narrow import of_type

NAMES = tuple(f"class{c}" for c in range(100))
SUBSETS = {  # imbalance: images, smallest class, many / medium / few, md5 of the row numbers
    10: (19573, 50, (69, 31, 0), "2b45beb34b839ecaf0a56c471e57d0b4"),
    20: (15907, 25, (53, 47, 0), "e4940299241e17d1fe638a676981362e"),
    50: (12608, 10, (41, 41, 18), "864fe3ab8af8b5aba6a32ff67a98f1cf"),
    100: (10847, 5, (35, 35, 30), "05c3c16f545298692e3cabd3c3b6f561"),
    200: (9502, 2, (30, 31, 39), "220058b01cde58637489d6b57f8db72e"),
    500: (8155, 1, (26, 26, 48), "4684fde89ad60ea3fa618ad323508af7"),
}


@pytest.fixture(scope="module")
def cifar100_labels(cifar100_root: Path) -> np.ndarray:
    import pyarrow.parquet as parquet

    return parquet.read_table(cifar100_root / "train.parquet", columns=["fine_label"])["fine_label"].to_numpy()


@pytest.mark.parametrize("imbalance", SUBSETS)
def test_the_subset_of_cifar100_is_the_subset_of_the_literature(cifar100_labels: np.ndarray, imbalance: int) -> None:
    images, smallest, groups, md5 = SUBSETS[imbalance]
    train, val = LongTail("exponential", imbalance).split(cifar100_labels, NAMES)
    counts = np.bincount(cifar100_labels[train])
    assert hashlib.md5(",".join(map(str, train)).encode()).hexdigest() == md5
    assert (len(train), counts.min(), len(val)) == (images, smallest, 0)
    assert ((counts > 100).sum(), ((counts <= 100) & (counts >= 20)).sum(), (counts < 20).sum()) == groups


def test_the_subset_equals_the_published_index(cifar100_labels: np.ndarray, cifar100_root: Path) -> None:
    published = json.loads((cifar100_root / "ldam_exp_ir100_seed0.json").read_text())
    train, _ = LongTail("exponential", 100).split(cifar100_labels, NAMES)
    assert train.tolist() == published["index"]


def test_counts_equal_the_golden_counts(golden: Callable[[str], dict[str, Any]]) -> None:
    """Leaves out SADE's backward test sets, whose classes are reversed, and the rows, which the next test compares."""
    tried = 0
    for case in golden("cifar_lt_counts")["cases"]:
        name, outputs = case["name"], case["outputs"]
        if name.startswith(("CIFAR10 ", "CIFAR100 ")) and "cls_num_list" in outputs:
            profile = exponential if case["hyperparameters"]["imb_type"] == "exp" else step
            classes, largest = (10, 5000) if name.startswith("CIFAR10 ") else (100, 500)
            wanted = {1 / case["hyperparameters"]["imb_factor"]: outputs["cls_num_list"]}
        elif name.startswith(("class-balanced-loss", "MetaSAug")):
            profile = exponential
            wanted = {1 / float(factor): values["cls_num_list"] for factor, values in outputs.items()}
            counts = next(iter(wanted.values()))
            classes, largest = len(counts), counts[0]
        elif name.startswith("SADE"):
            profile, classes, largest = exponential, 100, 100
            wanted = {1 / v["imb_factor"]: v["cls_num_list"] for v in outputs.values() if not v["reverse"]}
        else:
            assert "which images" in name  # the next test
            continue
        for imbalance, counts in wanted.items():
            assert profile(classes, largest, round(imbalance, 6)).tolist() == counts, (name, imbalance)
            tried += 1
    assert tried >= 30


def test_rows_equal_the_golden_ordinals(golden: Callable[[str], dict[str, Any]]) -> None:
    cases = [case for case in golden("cifar_lt_counts")["cases"] if "which images" in case["name"]]
    assert len(cases) == 3
    for case in cases:
        classes, largest = (10, 5000) if case["name"].startswith("CIFAR10 ") else (100, 500)
        labels = np.repeat(np.arange(classes), largest)
        train, _ = LongTail("exponential", 1 / case["hyperparameters"]["imb_factor"]).split(labels, NAMES[:classes])
        ordinals = [train[labels[train] == c] - c * largest for c in range(classes)]
        wanted = case["outputs"]
        assert ordinals[0][:8].tolist() == wanted["first_8_ordinals_class0"]
        assert ordinals[1][:8].tolist() == wanted["first_8_ordinals_class1"]
        assert ordinals[-1].tolist() == wanted["all_ordinals_last_class"]
        assert ordinals[-2].tolist() == wanted["all_ordinals_second_last_class"]
        assert [int(rows.sum()) for rows in ordinals] == wanted["sum_of_ordinals_per_class"]


def test_pareto_resembles_imagenet_lt() -> None:
    """Published: 115,846 images, 1280 to 5, and 385 / 479 / 136 classes."""
    counts = pareto(1000, 1280, 256)
    assert (counts.max(), counts.min()) == (1280, 5)
    assert abs(counts.sum() - 115846) < 0.05 * 115846
    assert abs((counts > 100).sum() - 385) < 25
    assert abs((counts < 20).sum() - 136) < 25


PROFILES = st.sampled_from([exponential, step, pareto])


@given(PROFILES, st.integers(2, 60), st.integers(1, 2000), st.floats(1, 500))
def test_every_profile_descends_from_largest_to_largest_over_imbalance(
    profile: Callable[..., np.ndarray], classes: int, largest: int, imbalance: float
) -> None:
    counts = profile(classes, largest, imbalance)
    assert counts.shape == (classes,)
    assert (np.diff(counts) <= 0).all()
    assert counts[0] == largest
    assert abs(counts[-1] - largest / imbalance) <= 1


@given(
    st.sampled_from(["exponential", "step", "pareto", "as_is"]),
    st.lists(st.integers(5, 40), min_size=2, max_size=8),
    st.floats(1, 5),
    st.integers(0, 4),
)
def test_split_takes_disjoint_rows_and_a_balanced_validation(
    profile: Any, sizes: list[int], imbalance: float, held: int
) -> None:
    labels = np.random.RandomState(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    try:
        train, val = LongTail(profile, imbalance, held).split(labels, NAMES[: len(sizes)])
    except ConfigError:
        assert imbalance > 1  # the smallest class would be empty
        return
    assert not set(train) & set(val)
    assert len(set(train)) == len(train)
    assert (np.bincount(labels[val], minlength=len(sizes)) == held).all()
    counts = np.bincount(labels[train], minlength=len(sizes))
    assert (counts >= 1).all()
    assert (counts <= np.array(sizes) - held).all()
    if profile == "as_is":
        assert (counts == np.array(sizes) - held).all()


def test_validation_takes_training_images_from_the_head_only() -> None:
    labels = np.repeat(np.arange(100), 500)
    alone, _ = LongTail("exponential", 100).split(labels, NAMES)
    train, val = LongTail("exponential", 100, 20).split(labels, NAMES)
    assert set(train) < set(alone)
    assert len(alone) - len(train) == 20  # class 0 keeps 480; class 1 has 23 to spare
    assert set(alone) - set(train) <= set(val)


def test_the_largest_class_is_as_large_as_all_classes_allow() -> None:
    available = np.array([130, 60, 60])
    counts = fit("exponential", available, 4.0)
    assert counts.tolist() == [121, 60, 30]
    assert (exponential(3, 122, 4.0) > available).any()


def test_by_size_keeps_the_order_of_class_sizes() -> None:
    available = np.array([12, 60, 30, 150, 12, 220])
    assert fit("exponential", available, 10.0, by_size=True).tolist() == [12, 32, 20, 51, 8, 82]
    assert fit("step", available, 5.0, by_size=True).tolist() == [12, 60, 12, 60, 12, 60]
    assert fit("as_is", available, 10.0, by_size=True).tolist() == available.tolist()
    assert fit("exponential", available, 10.0).tolist() == [12, 7, 4, 3, 1, 1]  # the first class is the head, as on CIFAR


@given(
    st.sampled_from(["exponential", "step", "pareto"]), st.lists(st.integers(5, 40), min_size=2, max_size=8), st.floats(1, 4)
)
def test_by_size_ignores_label_order(profile: Any, sizes: list[int], imbalance: float) -> None:
    available = np.array(sorted(sizes, reverse=True))
    order = np.random.RandomState(2).permutation(len(sizes))
    kept = fit(profile, available, imbalance)
    assert sorted(fit(profile, available[order], imbalance, by_size=True)) == sorted(kept)
    assert (fit(profile, available, imbalance, by_size=True) == kept).all()


def test_a_share_leaves_an_image_to_train_on() -> None:
    assert share(np.array([1, 2, 3, 10, 100]), 0.2).tolist() == [0, 1, 1, 2, 20]
    assert share(np.array([1, 2, 3]), 0.99).tolist() == [0, 1, 2]


def test_validation_takes_half_of_a_class_at_most() -> None:
    assert share(np.array([1, 2, 3, 5, 10]), 0.5, half=True).tolist() == [0, 1, 1, 2, 5]
    assert share(np.array([1, 2, 3, 10]), 0.01, half=True).tolist() == [0, 1, 1, 1]


def test_held_out_images_are_the_last_of_each_class() -> None:
    labels = np.repeat([0, 1], [10, 4])
    train, val = LongTail("as_is").split(labels, NAMES[:2], held=np.array([3, 1]))
    assert np.bincount(labels[val]).tolist() == [3, 1]
    assert sorted([*train, *val]) == list(range(14))
    _, balanced = LongTail("as_is", validation_per_class=1).split(labels, NAMES[:2])
    assert set(balanced) < set(val)


def test_an_imbalance_without_effect_is_refused() -> None:
    refuse_ignored("as_is", 100, usual=100)
    refuse_ignored("step", 50, usual=100)
    with pytest.raises(ConfigError, match="imbalance is 50 and has no effect with profile=as_is"):
        refuse_ignored("as_is", 50, usual=100)


def test_selection_ignores_numpys_global_state() -> None:
    labels = np.repeat(np.arange(3), 20)
    np.random.seed(5)
    state = of_type(tuple, np.random.get_state())[1].copy()
    first = [rows.tolist() for rows in shuffled(labels, 3)]
    assert first == [rows.tolist() for rows in shuffled(labels, 3)]
    assert (of_type(tuple, np.random.get_state())[1] == state).all()


def test_hold_out_divides_the_rows() -> None:
    labels = np.tile(np.arange(4), 10)
    rest, held = hold_out(labels, np.array([1, 2, 3, 4]))
    assert sorted([*rest, *held]) == list(range(40))
    assert np.bincount(labels[held]).tolist() == [1, 2, 3, 4]
    assert (np.diff(rest) > 0).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"imbalance": 0.01}, ["imbalance", "at least 1", "0.01", "give 100"]),
        ({"imbalance": 0.0}, ["imbalance", "at least 1"]),
        ({"imbalance": -3.0}, ["imbalance", "at least 1"]),
        ({"imbalance": float("nan")}, ["imbalance", "at least 1"]),
        ({"validation_per_class": -1}, ["validation_per_class", "-1"]),
        ({"profile": "exp"}, ["profile", "exponential", "'exp'"]),
    ],
)
def test_senseless_values_are_refused(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        LongTail(**arguments)
    assert all(word in str(caught.value) for word in words)


def test_an_empty_tail_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"imbalance=1000 .* dataset\.imbalance=500 or less"):
        LongTail("exponential", 1000).split(np.repeat(np.arange(100), 500), NAMES)


def test_too_large_a_validation_split_names_the_class() -> None:
    labels = np.repeat([0, 1, 2], [30, 4, 9])
    with pytest.raises(DataError, match=r"class 'class1' has 4 images .* 5 for validation.*validation_per_class=3"):
        LongTail("as_is", 1, 5).split(labels, NAMES[:3])


def test_splitting_many_classes_takes_no_pass_over_all_images_for_each() -> None:
    """As many images and classes as iNaturalist 2018. The seconds are those of this process, whatever else the machine does."""
    labels = np.random.RandomState(0).randint(0, 8142, 437_513)
    begun = time.process_time()
    LongTail("exponential", 5).split(labels, [str(c) for c in range(8142)])
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("profile", ["exponential", "step", "pareto"])
@pytest.mark.parametrize("available", [[49, 1], [100, 3, 1], [2, 2], [98, 40, 7, 2], [1, 1, 1]])
def test_the_imbalance_that_a_refusal_names_is_possible(profile: Profile, available: list[int]) -> None:
    with pytest.raises(ConfigError) as refusal:
        fit(profile, np.array(available), 1000)
    named = re.findall(r"dataset\.imbalance=(\d+)", str(refusal.value))
    assert fit(profile, np.array(available), float(named[0])).min() >= 1


@pytest.mark.parametrize(("imbalance", "each"), [(100, 108), (10, 195), (1, 500)])
def test_the_balanced_profile_has_as_many_images_as_the_exponential(imbalance: float, each: int) -> None:
    available = np.full(100, 500)
    assert fit("balanced", available, imbalance).tolist() == [each] * 100
    assert 0 <= fit("exponential", available, imbalance).sum() - 100 * each < 100


def test_the_balanced_profile_asks_no_class_for_more_than_it_has() -> None:
    assert fit("balanced", np.array([40, 9, 30]), 2).tolist() == [9, 9, 9]
