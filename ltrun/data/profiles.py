"""Long-tailed profiles: how many images each class keeps, and which images.

Class 0 is the head, as in the literature, or the largest class, where classes have sizes of their own. `imbalance` is the size
of the largest class over the size of the smallest, n_max / n_min (100, not 0.01). All counts are truncated as in the originals,
not rounded.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import ConfigError, DataError

Profile = Literal["exponential", "step", "pareto", "balanced", "as_is"]
Rows = NDArray[np.int64]


def exponential(num_classes: int, largest: int, imbalance: float) -> Rows:
    """n_c = int(n_max * (1 / imbalance) ** (c / (C - 1))): CIFAR-LT.

    (Cui et al., 2019, arXiv 1901.05555; Cao et al., 2019, arXiv 1906.07413)
    """
    factor, last = 1 / imbalance, max(num_classes - 1, 1)
    return np.array([int(largest * factor ** (c / last)) for c in range(num_classes)])


def step(num_classes: int, largest: int, imbalance: float) -> Rows:
    """The first C // 2 classes keep n_max images, the others int(n_max / imbalance).

    (Buda et al., 2018, arXiv 1710.05381; Cao et al., 2019, arXiv 1906.07413)
    """
    head = num_classes // 2
    return np.array([largest] * head + [int(largest * (1 / imbalance))] * (num_classes - head))


def pareto(num_classes: int, largest: int, imbalance: float, power: float = 6.0) -> Rows:
    """Class sizes at evenly spaced quantiles of a Pareto distribution, stretched so that n_max / n_min = imbalance.

    q_c = ((c + 1) / (C + 1)) ** (-1 / power) - 1 is a quantile of the distribution of numpy.random.pareto(power); s_c is q_c
    stretched to run from 1 to 0; n_c = int(n_min + (n_max - n_min) * s_c). ImageNet-LT says only "a Pareto
    distribution with power value 6"; this reading, with its 1280 to 5 images in 1000 classes, gives 404 / 456 / 140
    many / medium / few-shot classes and 121,449 images where the published list has 385 / 479 / 136 and 115,846.

    (Liu et al., 2019, arXiv 1904.05160)
    """
    quantile = (np.arange(1, num_classes + 1) / (num_classes + 1)) ** (-1 / power) - 1
    share = (quantile - quantile[-1]) / max(quantile[0] - quantile[-1], np.finfo(float).tiny)
    smallest = largest / imbalance
    return (smallest + (largest - smallest) * share + 1e-9).astype(np.int64)  # 499.99999999999994 means 500


PROFILES: dict[str, Callable[[int, int, float], Rows]] = {
    "exponential": exponential, "step": step, "pareto": pareto,
    "balanced": exponential,  # then levelled, see `fit`
}  # fmt: skip


def fit(
    profile: Profile,
    available: Rows,
    imbalance: float,
    by_size: bool = False,
    shots: int | None = None,
    held: Rows | int = 0,
) -> Rows:
    """Returns (C,) counts of the profile with the largest n_max for which every class has enough images: 500 on CIFAR-100.

    balanced: every class keeps the mean size of the classes of `exponential`, so that the training set is as large, or as many
    images as the smallest class has (the reference of relative accuracy: Zhang et al., 2023, arXiv 2110.04596).

    by_size: whether the profile takes the classes in the order of their sizes, equal sizes in label order; else all in label
    order. shots: images of each class after the first C // 2, in place of the profile's, which then asks only the others for
    n_max. held: (C,) images of each class that are for validation; a class keeps the others at most. Raises ConfigError if
    the smallest class would keep no image, or a class fewer than `shots`.
    """
    if profile == "as_is" and shots is None:
        return available - held
    if by_size:
        order = np.argsort(-available, kind="stable")
        kept = np.empty_like(available)
        kept[order] = fit(profile, available[order], imbalance, False, shots, np.broadcast_to(held, available.shape)[order])
        return kept
    kept = _largest(profile, available, imbalance, shots)
    if kept.min() < 1:
        largest = most = int(kept.max())
        while most > 1 and (less := _largest(profile, available, most, shots)).min() < 1:  # values between leave none either
            most = min(int(less.max()), most - 1)
        raise ConfigError(
            f"imbalance={imbalance:g} leaves the smallest class without an image, because the data allow the largest class "
            f"{largest} image{'s' if largest > 1 else ''}: give dataset.imbalance={most}{' or less' if most > 1 else ''}"
        )
    free = available - held
    if shots is not None:
        _refuse_many(shots, np.minimum(kept, free), free)
    return np.minimum(kept, free)


def _largest(profile: Profile, available: Rows, imbalance: float, shots: int | None) -> Rows:
    """Returns (C,) counts of the profile with the largest n_max for which the classes have images; the smallest may be 0."""
    classes = len(available)
    head = classes if shots is None else classes // 2
    if profile == "as_is":
        kept = available.copy()
    else:
        counts = PROFILES[profile]
        sizes = range(1, int(available.max()) + 1)
        largest = bisect_left(sizes, True, key=lambda n: bool((counts(classes, n, imbalance) > available)[:head].any()))
        kept = counts(classes, largest, imbalance)
    if shots is not None:
        kept[head:] = shots
    return np.full_like(kept, min(kept.sum() // len(kept), available.min())) if profile == "balanced" else kept


def _refuse_many(shots: int, kept: Rows, free: Rows) -> None:
    """Raises ConfigError for more shots than a class of the head keeps, or than a class of the tail has. kept, free: (C,)."""
    head = len(kept) // 2
    limits = [("a class before the tail keeps", int(kept[:head].min()))] if head else []
    what, most = min([*limits, ("a class of the tail has", int(free[head:].min()))], key=lambda limit: limit[1])
    if shots > most:
        raise ConfigError(
            f"shots={shots} is more than {what}, {most}: give dataset.shots={most}{' or less' if most > 1 else ''}"
        )


def share(counts: Rows, fraction: float, half: bool = False) -> Rows:
    """Returns (C,) a fraction of each class's images: at least one image, but never the last image of a class.

    half: never more than half of a class's images, so that none trains on fewer than it is selected by.
    """
    most = counts // 2 if half else counts - 1
    return np.clip(np.rint(counts * fraction), np.minimum(most, 1), most).astype(np.int64)


def refuse_ignored(profile: Profile, imbalance: float, usual: float, shots: int | None = None) -> None:
    """Raises ConfigError for an imbalance other than `usual` that has no effect, though titles would show it."""
    if profile == "as_is" and imbalance != usual:
        raise ConfigError(
            f"imbalance is {imbalance:g} and has no effect with profile=as_is: remove it, or give dataset.profile=exponential"
        )
    if profile == "step" and shots is not None and imbalance != usual:
        raise ConfigError(
            f"imbalance is {imbalance:g} and has no effect with profile=step and shots={shots}, which sets the tail: "
            "remove it, or dataset.shots"
        )


def shuffled(labels: Rows, num_classes: int) -> list[Rows]:
    """Returns the rows of each class, in the order in which the literature's CIFAR-LT draws them.

    The order comes from numpy's legacy generator with seed 0: classes in label order, one shuffle per class. The seed of a run
    does not enter, so that every run of every paper trains on the same images.
    """
    generator = np.random.RandomState(0)
    by_class = np.split(np.argsort(labels, kind="stable"), np.bincount(labels, minlength=num_classes).cumsum()[:-1])
    for rows in by_class:
        generator.shuffle(rows)
    return by_class


def hold_out(labels: Rows, held: Rows) -> tuple[Rows, Rows]:
    """Returns (remaining rows, held-out rows), each in file order; holds out the first held[c] rows of each shuffled class."""
    classes = shuffled(labels, len(held))
    rest = np.concatenate([rows[n:] for rows, n in zip(classes, held, strict=True)])
    out = np.concatenate([rows[:n] for rows, n in zip(classes, held, strict=True)])
    return np.sort(rest), np.sort(out)


def left_over(images: int, *used: Rows) -> Rows:
    """Returns the rows of a pool of images that no split uses, in file order."""
    return np.setdiff1d(np.arange(images), np.concatenate(used))


@dataclass(frozen=True)
class LongTail:
    """Settings of a long tail, for every data set. Raises ConfigError for values that make no sense.

    shots: training images of each class of the tail, the classes after the first C // 2 in the order of the profile; None: as
    many as the profile gives them. With `step` it is the generalised few-shot setting, a head of full classes beside a tail of
    `shots` images each, which Zhang et al., 2023, arXiv 2110.04596, call a special case of long-tailed learning.
    """

    profile: Profile = "exponential"
    imbalance: float = 100.0
    validation_per_class: int = 0
    shots: int | None = None

    def __post_init__(self) -> None:
        if self.profile != "as_is" and self.profile not in PROFILES:
            raise ConfigError(f"profile must be one of {', '.join(PROFILES)} or as_is, got {self.profile!r}")
        if not (math.isfinite(self.imbalance) and self.imbalance >= 1):
            inverse = f": give {1 / self.imbalance:g}" if 0 < self.imbalance < 1 else ""
            raise ConfigError(f"imbalance is n_max / n_min and must be at least 1, got {self.imbalance:g}{inverse}")
        if self.validation_per_class < 0:
            raise ConfigError(f"validation_per_class must be 0 or more, got {self.validation_per_class}")
        if self.shots is not None and self.shots < 1:
            raise ConfigError(f"shots must be at least 1, or null for the profile's own tail, got {self.shots}")
        if self.shots is not None and self.profile == "balanced":
            raise ConfigError(
                f"shots is {self.shots}, but profile=balanced makes all classes equally large and has no tail: give "
                "dataset.profile=step, or remove dataset.shots"
            )

    def words(self) -> list[str]:
        """Returns the words of a command line that ask for this tail."""
        imbalance, held = f"{self.imbalance:g}", self.validation_per_class
        few = {} if self.shots is None else {"shots": self.shots}
        values = {"profile": self.profile, "imbalance": imbalance, "validation_per_class": held, **few}
        return [f"dataset.{key}={value}" for key, value in values.items()]

    def split(self, labels: Rows, names: Sequence[str], by_size: bool = False, held: Rows | None = None) -> tuple[Rows, Rows]:
        """Returns (training rows, validation rows) of one pool of labels, in which every class has at least one image.

        Training takes the first n_c rows of each shuffled class. Validation takes the last rows, which the profile left over. A
        class with fewer than `validation_per_class` rows left over, such as the head that keeps everything, gives its last
        training rows to validation; all other classes train on exactly the images that they have without validation. by_size:
        see `fit`. held: (C,) validation images of each class, in place of `validation_per_class`. Raises DataError or
        ConfigError for a class that is too small.
        """
        available = np.bincount(labels, minlength=len(names))
        if held is None:
            held = np.full(len(names), self.validation_per_class)
        if (short := np.flatnonzero(available <= held)).size:
            rarest = int(available.min())
            raise DataError(
                f"class '{names[short[0]]}' has {available[short[0]]} images to train on, too few to leave "
                f"{held[short[0]]} for validation: give dataset.validation_per_class={max(rarest - 1, 0)} or less, one fewer "
                "than the rarest class has"
            )
        counts = fit(self.profile, available, self.imbalance, by_size, self.shots, held)
        classes = shuffled(labels, len(names))
        train = np.concatenate([rows[:n] for rows, n in zip(classes, counts, strict=True)])
        return train, np.concatenate([rows[len(rows) - n :] for rows, n in zip(classes, held, strict=True)])
