"""Image folders: the images of each class for training, validation and test, and settings that would have no effect."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ltrun.data import CIFARLT, DigitsLT, ImageFolder
from ltrun.data.decoding import MAX_PIXELS
from ltrun.data.source import Source
from ltrun.errors import ConfigError
from ltrun.results.address import fingerprint
from tests.support.cases import CONF
from tests.support.data_fakes import cifar_parquet, class_folders, pixels_of, refused
from tests.support.narrow import present

CPU = torch.device("cpu")
SKEWED = {"ant": 12, "bear": 60, "cat": 30, "dog": 150, "elk": 12, "fox": 220}
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def skewed(tmp_path: Path) -> Path:
    class_folders(tmp_path / "train", SKEWED, size=4)
    class_folders(tmp_path / "test", dict.fromkeys(SKEWED, 2), size=4)
    return tmp_path


def test_a_profile_keeps_the_order_of_class_sizes(skewed: Path) -> None:
    stats = ImageFolder(str(skewed), image_size=4, profile="exponential", imbalance=10).open(CPU).stats
    assert stats.counts.tolist() == [12, 32, 20, 51, 8, 82]
    assert int(stats.counts.sum()) == 205


def test_cifar_keeps_label_order(tmp_path: Path) -> None:
    cifar_parquet(tmp_path, per_class=12)
    counts = CIFARLT(10, str(tmp_path), imbalance=4).open(CPU).stats.counts.tolist()
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (12, 3)


def test_validation_holds_out_a_share_of_each_class(skewed: Path) -> None:
    splits = ImageFolder(str(skewed), image_size=4, validation=0.1).open(CPU)
    val = present(splits.val)
    assert torch.bincount(val.targets.labels).tolist() == [1, 6, 3, 15, 1, 22]
    assert splits.stats.counts.tolist() == [11, 54, 27, 135, 11, 198]
    assert len(torch.unique(torch.cat([pixels_of(val), pixels_of(splits.train)]).flatten(1), dim=0)) == sum(SKEWED.values())


def test_a_class_with_one_image_keeps_it_for_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class_folders(tmp_path / "train", {"ant": 10, "bee": 1}, size=4)
    class_folders(tmp_path / "test", {"ant": 1, "bee": 1}, size=4)
    splits = ImageFolder(str(tmp_path), image_size=4, validation=0.2).open(CPU)
    assert torch.bincount(present(splits.val).targets.labels).tolist() == [2]
    assert "class 'bee': one image to train on, so none is held out for validation" in caplog.messages


def test_validation_of_classes_with_one_image_each_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 2, "bee": 2}, size=4)
    sentence = refused(ImageFolder(str(tmp_path), image_size=4, validation=0.2))
    assert "has more than one image to train on" in sentence
    assert "dataset.validation=0," in sentence


def test_validation_per_class_is_refused_for_a_class_with_one_image(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 9, "bee": 2}, size=4)
    sentence = refused(ImageFolder(str(tmp_path), image_size=4, validation_per_class=1))
    assert "has 1 image to train on" in sentence
    assert "dataset.validation_per_class=0, or" in sentence


def test_without_a_test_folder_validation_is_a_share_of_the_other_images(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 50, "bee": 10}, size=4)
    splits = ImageFolder(str(tmp_path), image_size=4, validation=0.25).open(CPU)
    assert (splits.stats.counts.tolist(), len(present(splits.val)), len(splits.test)) == ([30, 6], 12, 12)


def test_too_large_a_validation_per_class_is_refused_with_values_that_fit(skewed: Path) -> None:
    sentence = refused(ImageFolder(str(skewed), image_size=4, validation_per_class=12))
    assert "the rarest class, 'ant', has 12 images to train on" in sentence
    assert "dataset.validation_per_class=11 or less" in sentence
    assert "dataset.validation=0.1" in sentence
    val = present(ImageFolder(str(skewed), image_size=4, validation_per_class=11).open(CPU).val)
    assert (np.bincount(val.targets.labels) == 11).all()


def test_a_second_validation_split_is_refused(skewed: Path) -> None:
    class_folders(skewed / "val", dict.fromkeys(SKEWED, 1), size=4)
    with pytest.raises(ConfigError, match=r"is the validation split already: give dataset\.validation=0"):
        ImageFolder(str(skewed), validation=0.1).open(CPU)


def test_a_test_fraction_beside_a_test_folder_is_refused(skewed: Path) -> None:
    with pytest.raises(ConfigError, match=r"test is the test split, so dataset\.test_fraction=0\.3 has no effect"):
        ImageFolder(str(skewed), test_fraction=0.3).open(CPU)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ImageFolder("x", validation=1.0), "validation must be from 0 to 0.5, half of each class, got 1"),
        (lambda: ImageFolder("x", validation=-0.1), "validation must"),
        (lambda: ImageFolder("x", validation=float("nan")), "validation must"),
        (lambda: ImageFolder("x", validation=0.1, validation_per_class=1), "give one of them"),
        (lambda: ImageFolder("x", max_pixels=0), "max_pixels must be at least 1"),
        (lambda: ImageFolder("x", imbalance=50), "imbalance is 50 and has no effect with profile=as_is"),
        (lambda: DigitsLT(profile="as_is", imbalance=50), "imbalance is 50 and has no effect with profile=as_is"),
    ],
)
def test_senseless_choices_are_refused_before_any_file_is_touched(build: Callable[[], Source], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()


def test_an_imbalance_without_effect_on_cifar_is_refused(tmp_path: Path) -> None:
    cifar_parquet(tmp_path)
    with pytest.raises(ConfigError, match="imbalance is 50 and has no effect"):
        CIFARLT(10, str(tmp_path), profile="as_is", imbalance=50).open(CPU)


def test_keys_added_later_do_not_change_the_addresses_of_older_results() -> None:
    node = yaml.safe_load((CONF / "dataset" / "image_folder.yaml").read_text())["dataset"] | {"root": "photos"}
    young = {"grey_range": [0, 65535], "max_pixels": MAX_PIXELS, "validation": 0}
    old = fingerprint({"dataset": {key: value for key, value in node.items() if key not in young}})
    assert old == fingerprint({"dataset": node}) == fingerprint({"dataset": node | young}) == "cda1fd03"
    for key, value in {"grey_range": [0, 4095], "max_pixels": 10**9, "validation": 0.1}.items():
        assert fingerprint({"dataset": node | {key: value}}) != old
