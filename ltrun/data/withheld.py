"""Images withheld from training: for testing where there is no test split, and for validation."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ltrun.data.class_folders import named
from ltrun.data.label_arrays import LabelArray, counts_of, one_each, several
from ltrun.data.profiles import LongTail, Rows, hold_out, share
from ltrun.data.stratified import stratified
from ltrun.errors import DataError

log = logging.getLogger(__name__)


def for_testing(labels: LabelArray, names: Sequence[str], fraction: float, root: str, of_splits: str) -> tuple[Rows, Rows]:
    """Returns (rows to train on, rows held out for testing): a fraction of each class. Raises DataError for a single image.

    root: of the images. of_splits: what a split is made of, in sentences.
    """
    counts = counts_of(labels, len(names))
    if (lone := np.flatnonzero(counts < 2)).size:
        has = "has one readable image, so none" if counts[lone[0]] else "has no readable image, so no image"
        raise DataError(f"class '{names[lone[0]]}' in {root} {has} is left to test it: add images")
    held = share(counts, fraction)
    if labels.ndim == 1:
        rest, out = hold_out(one_each(labels), held)
    else:
        rest, out = stratified(several(labels), held, counts - 1, fraction)
    log.info(
        "%s has no test %s: %s of its %s images are held out for testing (dataset.test_fraction=%g of each class)",
        root, of_splits, f"{len(out):,}", f"{len(labels):,}", fraction,
    )  # fmt: skip
    return rest, out


def for_validation(labels: LabelArray, names: Sequence[str], fraction: float, tail: LongTail, root: str) -> tuple[Rows, Rows]:
    """Returns (rows to train on, rows held out for validation). Raises DataError if a class has too few.

    tail: how images of one label are cut to a long tail.
    """
    counts = counts_of(labels, len(names))
    if labels.ndim == 1:
        return tail.split(one_each(labels), names, by_size=True, held=_validation(counts, names, fraction, tail, root))
    if not fraction:
        return np.arange(len(labels)), np.arange(0)
    return stratified(several(labels), _validation(counts, names, fraction, tail, root), counts // 2, fraction)


def check_trained(labels: LabelArray, names: Sequence[str], root: str) -> None:
    """Raises DataError for images of several labels of which a class has none to train on."""
    if labels.ndim == 2 and (empty := np.flatnonzero(counts_of(labels, len(names)) == 0)).size:
        classes = named([names[label] for label in empty.tolist()])
        raise DataError(f"{classes} has no training image in {root}: add images of it")


def check_tested(labels: LabelArray, names: Sequence[str]) -> None:
    """Warns of classes of images of several labels that no test image has."""
    if labels.ndim == 2 and (untested := np.flatnonzero(counts_of(labels, len(names)) == 0)).size:
        classes = named([names[label] for label in untested.tolist()])
        log.warning("no test image has %s: the mean of the average precisions leaves it out", classes)


def _validation(counts: Rows, names: Sequence[str], fraction: float, tail: LongTail, root: str) -> Rows:
    """Returns (C,) numbers of training images held out for validation. Raises DataError if a class has too few."""
    each = tail.validation_per_class
    if fraction:
        held = share(counts, fraction, half=True)
        if (lone := np.flatnonzero(held == 0)).size == len(held):
            raise DataError(
                f"no class in {root} has more than one image to train on, so none is left for validation: "
                "give dataset.validation=0, or add images"
            )
        if lone.size:
            which = named([names[label] for label in lone.tolist()])
            log.warning("%s: one image to train on, so none is held out for validation", which)
        return held
    if each >= counts.min():
        name, most = names[int(counts.argmin())], counts.min() - 1
        images = "1 image" if most == 0 else f"{counts.min()} images"
        raise DataError(
            f"the rarest class, '{name}', has {images} to train on, too few to leave {each} for validation: give "
            f"dataset.validation_per_class={most}{' or less' if most else ''}, or a share of each class by "
            "dataset.validation=0.1"
        )
    return np.full(len(counts), each)
