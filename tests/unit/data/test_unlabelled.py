"""Unlabelled images: the images that a long tail and validation leave over."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ltrun.data import CIFARLT, DigitsLT
from tests.support.data_fakes import CPU, cifar_parquet, images_of, pixels_of

pytestmark = pytest.mark.usefixtures("own_cache")


def test_left_over_digits_are_unlabelled_where_training_reads_them() -> None:
    splits, whole = (DigitsLT(p, validation_per_class=9, reads_unlabelled=True).open(CPU) for p in ("exponential", "as_is"))
    assert splits.val is not None and splits.unlabelled is not None
    everything = torch.cat([pixels_of(store) for store in (splits.train, splits.val, splits.test, splits.unlabelled)])
    assert len(torch.unique(everything.flatten(1), dim=0)) == len(everything) == 1797
    assert not splits.unlabelled.targets.labels.any(), "no true label leaks"
    assert DigitsLT(validation_per_class=9).open(CPU).unlabelled is None
    assert whole.unlabelled is None, "profile=as_is leaves nothing over"


def test_left_over_images_of_cifar_are_unlabelled_in_file_order(tmp_path: Path) -> None:
    images, labels = cifar_parquet(tmp_path)
    splits = CIFARLT(10, str(tmp_path), imbalance=4, validation_per_class=2, download=False, reads_unlabelled=True).open(CPU)
    assert splits.val is not None and splits.unlabelled is not None
    used = {image.tobytes() for store in (splits.train, splits.val) for image in images_of(store)}
    rest = [image.tobytes() not in used for image in images]
    assert np.array_equal(images_of(splits.unlabelled), images[rest])
    assert np.bincount(labels[rest]).tolist() == [0, 0, 2, 3, 4, 5, 6, 6, 7, 7], "the reverse of the labelled shares"
    assert not splits.unlabelled.targets.labels.any()
    assert CIFARLT(10, str(tmp_path), imbalance=4, download=False).open(CPU).unlabelled is None
