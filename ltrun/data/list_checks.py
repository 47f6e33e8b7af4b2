"""Comparison of lists with the published ones: the collection, the order of the classes, the images of each class."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ltrun.data.images import shown
from ltrun.data.lists import ImageList, check_range
from ltrun.data.published import Benchmark, owner_of, split_of
from ltrun.errors import DataError

log = logging.getLogger(__name__)
Order = NDArray[np.int64]  # (C,) the label of each class, classes in the published order


def checked(given: ImageList, split: str, known: Benchmark, species: Sequence[str]) -> tuple[ImageList, list[str]]:
    """Returns a list with labels in the published order, and what to say of it.

    split: what the list is used as. species: names of the classes in the published order, by which some sort them. Raises
    DataError for a list of other images, for another order that the lines do not prove, and for other counts than published.
    """
    _check_collection(given, known)
    check_range(given, len(known.classes), f"{known.title} has")
    shows = [known.keys.class_of(path) for path in given.paths]
    notes = []
    if (order := _shown_order(given, shows, known)) is not None and (order != np.arange(len(order))).any():
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        given = replace(given, labels=back[given.labels])
        notes = [f"{shown(given.file)} numbers the classes by {_named(order, known, species)}: put into the published order"]
        log.warning(notes[0])
    return given, [*notes, _compared(given, split, known)]


def _check_collection(given: ImageList, known: Benchmark) -> None:
    """Raises DataError for a line that is no image of the collection."""
    for path in given.paths:
        if known.keys.known.match(known.keys.of(path)):
            continue
        if owner := owner_of(path, known):
            raise DataError(
                f"{shown(given.file)} is a list of {owner}, not of {known.title}: it names {shown(path)}; give its own dataset="
            )
        raise DataError(
            f"{shown(given.file)} names {shown(path)}, but images of {known.title} are named as {known.keys.example}: get the "
            f"list from {known.source}, or give dataset=lists for a list of your own"
        )


def _shown_order(given: ImageList, shows: Sequence[str | None], known: Benchmark) -> Order | None:
    """Returns the label of each class by the classes that the paths show; None if they do not show all of them.

    Raises DataError for a class of two labels, and for two classes of one label.
    """
    order = np.full(len(known.classes), -1, dtype=np.int64)
    for path, label, name in zip(given.paths, given.labels.tolist(), shows, strict=True):
        if name is None or (place := known.label_of.get(name)) is None:
            return None
        if order[place] not in (-1, label):
            raise DataError(
                f"{shown(given.file)} gives {shown(path)} label {label}, and other images of class '{name}' label "
                f"{order[place]}: get the list from {known.source}"
            )
        order[place] = label
    if (order < 0).any():
        return None
    if len(set(order.tolist())) < len(order):
        twin = np.flatnonzero(np.bincount(order, minlength=len(order)) > 1)[0]
        one, other = (known.classes[place] for place in np.flatnonzero(order == twin)[:2])
        raise DataError(
            f"{shown(given.file)} gives the classes '{one}' and '{other}' one label, {twin}: get the list from {known.source}"
        )
    return order


def _orders(known: Benchmark, species: Sequence[str]) -> Mapping[str, Order]:
    """Returns the orders in which others number the classes, by name."""
    counts = known.counts["train"]
    found = {
        "their names as text ('0', '1', '10', '100'), as folders are sorted": _ranks(known.classes),
        "falling number of training images": _ranks([-int(count) for count in counts]),
    }
    return found | ({"sorted names of the species": _ranks(species)} if tuple(species) != known.classes else {})


def _ranks(values: Sequence[str] | Sequence[int]) -> Order:
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values))
    return ranks


def _named(order: Order, known: Benchmark, species: Sequence[str]) -> str:
    """Returns the name of an order; of two with equal counts, any falling one is by count."""
    for name, candidate in _orders(known, species).items():
        if np.array_equal(candidate, order):
            return name
    counts = known.counts["train"][np.argsort(order)]
    return "falling number of training images" if (np.diff(counts) <= 0).all() else "an order of its own"


def _compared(given: ImageList, split: str, known: Benchmark) -> str:
    """Returns what to say of a list whose counts are published. Raises DataError for other counts, and another split."""
    published, counts = known.counts.get(split), np.bincount(given.labels, minlength=len(known.classes))
    said = f"{shown(given.file)}: {len(given.paths):,} images"
    if published is not None and np.array_equal(counts, published):
        return f"{said}, as many of each class as the published {known.titles[split]} list of {known.title}"
    found = split_of(counts, known)
    if found == (known, "val") and split == "test":
        usual = int(known.counts["test"].sum())
        return (
            f"{said}: the published validation list of {known.title}, used as test split in place of the {usual:,} test images"
        )
    if found is not None:
        which = f"the {found[0].titles[found[1]]} list of {found[0].title}"
        raise DataError(f"{shown(given.file)} is {which}, not the {known.titles[split]} list of {known.title}")
    raise DataError(f"{said}, {_difference(counts, published, known)}")


def _difference(counts: NDArray[np.int64], published: NDArray[np.int64] | None, known: Benchmark) -> str:
    """Returns how the images of each class differ from the published ones, and the way out."""
    way_out = f"get the list from {known.source}, or give dataset=lists for a list of your own"
    if published is None:
        return f"but {known.title} has no such list: {way_out}"
    for name, order in _orders(known, known.classes).items():
        if np.array_equal(counts[order], published):
            return f"in classes numbered by {name}, and no path shows its class: {way_out}"
    if np.array_equal(np.sort(counts), np.sort(published)):
        return f"as many as published, but in classes of another order: {way_out}"
    wrong = np.flatnonzero(counts != published)
    first = wrong[0]
    more = f", and {len(wrong) - 1:,} more classes differ" if len(wrong) > 1 else ""
    return (
        f"but {known.title} has {published.sum():,}: class '{known.classes[first]}' has {counts[first]:,} here and "
        f"{published[first]:,} as published{more}; {way_out}"
    )
