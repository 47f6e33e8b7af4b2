"""Digits-LT: the handwritten digits that come with scikit-learn, made long-tailed. Nothing is downloaded."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch

from ltrun.data.cache import Arrays, cached
from ltrun.data.files import Files, digests_of
from ltrun.data.profiles import LongTail, Profile, hold_out, left_over, refuse_ignored
from ltrun.data.source import Source, Splits
from ltrun.data.stores import Resident
from ltrun.errors import ConfigError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SMALLEST_CLASS = 174


class DigitsLT(Source):
    """1,797 real 8 x 8 grey images of ten digits. The test split takes test_per_class of each; the others are made long-tailed.

    Pixels 0 to 16 become 0 to 255. With 50 test images per class and an imbalance of 25, the classes have 128 to 5 training
    images: one many-shot, five medium-shot and four few-shot classes. The images that the long tail and validation leave over
    are unlabelled images for a training that reads them.

    (Alpaydin and Kaynak, 1998, UCI Machine Learning Repository: Optical Recognition of Handwritten Digits)
    """

    def __init__(
        self,
        profile: Profile = "exponential",
        imbalance: float = 25.0,
        validation_per_class: int = 0,
        test_per_class: int = 50,
        *,
        shots: int | None = None,
        reads_unlabelled: bool = False,
    ) -> None:
        if not 1 <= test_per_class < SMALLEST_CLASS:
            raise ConfigError(f"test_per_class must lie between 1 and {SMALLEST_CLASS - 1}, got {test_per_class}")
        refuse_ignored(profile, imbalance, usual=25, shots=shots)
        self.tail = LongTail(profile, imbalance, validation_per_class, shots)
        self.lacks_validation = validation_per_class == 0
        self.test_per_class = test_per_class
        self.reads_unlabelled = reads_unlabelled

    def open(self, device: torch.device) -> Splits:
        arrays = cached(load, "digits", version("scikit-learn"))
        images, labels = arrays["images"], arrays["labels"]
        files = Files.numbered("digits", len(labels)).holding(digests=arrays["digests"])
        pool, test = hold_out(labels, np.full(len(NAMES), self.test_per_class))
        train, val = (pool[rows] for rows in self.tail.split(labels[pool], NAMES))
        train_store, val_store, test_store = (Resident.of(images, labels, rows, device, files) for rows in (train, val, test))
        rest = left_over(len(labels), train, val, test)
        unlabelled = self.reads_unlabelled and len(rest) > 0
        hidden = Resident.of(images, np.zeros_like(labels), rest, device, files) if unlabelled else None
        return Splits(train_store, val_store if len(val) else None, test_store, NAMES, unlabelled=hidden)


def load() -> Arrays:
    """Returns all digits: images (1797, 1, 8, 8) uint8, their digests, labels (1797,)."""
    from sklearn.datasets import load_digits  # takes two seconds to import, hence the cache

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return {"images": images, "digests": digests_of(images), "labels": digits.target.astype(np.int64)}
