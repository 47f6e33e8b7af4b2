"""Iterative stratification: each class has its share, rare classes too, and the rows do not depend on a seed."""

import numpy as np
import pytest

from ltrun.data.profiles import share
from ltrun.data.stratified import stratified


def long_tail(seed: int, images: int = 400, classes: int = 12) -> np.ndarray:
    chances = 0.5 * np.exp(-4 * np.arange(classes) / classes)
    return np.random.RandomState(seed).rand(images, classes) < chances


@pytest.mark.parametrize("seed", range(5))
def test_each_class_has_its_share_within_an_image_or_two(seed: int) -> None:
    hot = long_tail(seed)
    counts = hot.sum(0)
    held = share(counts, 0.2)
    rest, out = stratified(hot, held, counts - 1, 0.2)
    assert np.array_equal(np.sort(np.r_[rest, out]), np.arange(len(hot)))
    assert np.abs(hot[out].sum(0) - held).max() <= 2 and abs(len(out) - 80) <= 4
    assert np.abs(hot[out].sum(0) - held).sum() < np.abs(hot[:80].sum(0) - held).sum()
    assert np.array_equal(stratified(hot, held, counts - 1, 0.2)[1], out)


def test_no_class_gives_more_than_it_may() -> None:
    hot = long_tail(1, images=60)
    hot[:2, -1] = True
    counts = hot.sum(0)
    for most in (counts - 1, counts // 2):
        _, out = stratified(hot, share(counts, 0.4), np.maximum(most, 0), 0.4)
        assert (hot[out].sum(0) <= np.maximum(most, 0)).all()


def test_images_without_labels_are_shared_out_too() -> None:
    hot = np.zeros((100, 2), dtype=bool)
    hot[:20, 0] = hot[10:30, 1] = True
    rest, out = stratified(hot, share(hot.sum(0), 0.2), hot.sum(0) - 1, 0.2)
    assert len(out) == 20 and 12 <= (~hot[out].any(1)).sum() <= 16 and len(rest) == 80
