"""Scenes of several handwritten digits, with a long tail of classes that occur together. Nothing is downloaded."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.data.cache import Arrays, cached
from ltrun.data.digits import NAMES, SMALLEST_CLASS, load
from ltrun.data.files import Files, digests_of
from ltrun.data.profiles import LongTail, exponential, hold_out
from ltrun.data.source import Source, Splits
from ltrun.data.stores import Resident
from ltrun.errors import ConfigError
from ltrun.metrics import MULTI_LABEL

Rows = NDArray[np.int64]
Hot = NDArray[np.bool_]

HEAD = 250  # training scenes with the most frequent class
SCENES = 350  # training scenes, or more where they would have more than two digits on average
PLACES = 4  # quadrants of a scene
EMPTY = 20  # scenes of each other split have one without a digit


class DigitScenes(Source):
    """About 350 training scenes of one to four of ten digits, in the quadrants of 16 x 16 pixels; a label for each digit.

    Class c is in int(250 * (1 / imbalance) ** (c / 9)) training scenes: with an imbalance of 50 in 250 to 5, and a rare class
    comes together with frequent ones. The splits share no digit. In the test split and in validation each digit occurs once,
    so that the classes have equally many positives, and one scene in twenty has no digit.

    (Alpaydin and Kaynak, 1998, UCI Machine Learning Repository: Optical Recognition of Handwritten Digits)
    """

    tasks = frozenset({MULTI_LABEL})

    def __init__(self, imbalance: float = 50.0, validation_per_class: int = 0, test_per_class: int = 50) -> None:
        LongTail(imbalance=imbalance, validation_per_class=validation_per_class)  # checks the values
        if imbalance > HEAD:
            raise ConfigError(f"imbalance must be at most {HEAD}, so that the rarest class is in a scene, got {imbalance:g}")
        if test_per_class < 1:
            raise ConfigError(f"test_per_class must be at least 1, got {test_per_class}")
        if validation_per_class + test_per_class >= SMALLEST_CLASS:
            raise ConfigError(
                f"validation_per_class and test_per_class must add up to less than {SMALLEST_CLASS}, the size of the smallest "
                f"class, got {validation_per_class + test_per_class}"
            )
        self.imbalance, self.validation_per_class, self.test_per_class = imbalance, validation_per_class, test_per_class
        self.lacks_validation = validation_per_class == 0

    def open(self, device: torch.device) -> Splits:
        key = (self.imbalance, self.validation_per_class, self.test_per_class)
        arrays = cached(self._drawn, "digit scenes", version("scikit-learn"), *key)
        images, labels, split = (arrays[name] for name in ("images", "labels", "split"))
        files = Files.numbered("scene", len(images)).holding(digests=arrays["digests"])
        train, val, test = (Resident.of(images, labels, np.flatnonzero(split == s), device, files) for s in range(3))
        return Splits(train, val if len(val) else None, test, NAMES)

    def _drawn(self) -> Arrays:
        digits = load()
        pool, test = hold_out(digits["labels"], np.full(len(NAMES), self.test_per_class))
        rest, val = hold_out(digits["labels"][pool], np.full(len(NAMES), self.validation_per_class))
        counts = exponential(len(NAMES), HEAD, self.imbalance)
        hot = [long_tailed(counts, SCENES), once(self.validation_per_class), once(self.test_per_class)]
        rows = (pool[rest], pool[val], test)
        scenes = [drawn(digits["images"][some], digits["labels"][some], has) for some, has in zip(rows, hot, strict=True)]
        images = np.concatenate(scenes)
        split = np.repeat(np.arange(3), [len(has) for has in hot])
        return {"images": images, "digests": digests_of(images), "labels": np.concatenate(hot), "split": split}


def long_tailed(counts: Rows, least: int) -> Hot:
    """Returns (n, C) labels of training scenes: `counts[c]` scenes have class c, each scene has one to PLACES classes.

    least: number of scenes, unless they would have more than two classes on average; those without a class are left out.
    Classes choose among the scenes with a free place; the most frequent one takes the scenes without a class before others.
    """
    generator = np.random.RandomState(0)
    scenes = max(least, int(counts.sum()) // 2)
    hot = np.zeros((scenes, len(counts)), dtype=bool)
    for c in np.argsort(counts, kind="stable"):
        order = generator.permutation(scenes)
        taken = hot[order].sum(1)
        first = (taken == 0) if c == counts.argmax() else np.zeros_like(taken, dtype=bool)
        hot[order[np.lexsort((~first, taken == PLACES))][: counts[c]], c] = True
    return hot[hot.any(1)]


def once(per_class: int) -> Hot:
    """Returns (n, C) labels of scenes in which every class occurs `per_class` times, two classes in a scene on average."""
    generator = np.random.RandomState(1)
    classes = len(NAMES)
    scenes = per_class * classes // 2
    hot = np.zeros((scenes, classes), dtype=bool)
    for c in generator.permutation(classes):
        order = generator.permutation(scenes)
        hot[order[np.argsort(hot[order].sum(1) == PLACES, kind="stable")][:per_class], c] = True
    hot = hot[hot.any(1)]
    return np.concatenate([hot, np.zeros((-(-len(hot) // (EMPTY - 1)), classes), dtype=bool)])


def drawn(digits: NDArray[np.uint8], labels: Rows, hot: Hot) -> NDArray[np.uint8]:
    """Returns (n, 1, 16, 16) scenes. digits: (D, 1, 8, 8). labels: (D,) of the digits. hot: (n, C) the classes in each scene.

    Each class deals its digits out in turn; they lie in quadrants drawn at random.
    """
    generator = np.random.RandomState(2)
    side = digits.shape[-1]
    scenes = np.zeros((len(hot), 1, 2 * side, 2 * side), dtype=np.uint8)
    own = [np.flatnonzero(labels == c) for c in range(hot.shape[1])]
    dealt = np.zeros(hot.shape[1], dtype=np.int64)
    for scene, has in zip(scenes, hot, strict=True):
        for c, place in zip(np.flatnonzero(has), generator.permutation(PLACES), strict=False):
            top, left = side * (place // 2), side * (place % 2)
            scene[:, top : top + side, left : left + side] = digits[own[c][dealt[c] % len(own[c])]]
            dealt[c] += 1
    return scenes
