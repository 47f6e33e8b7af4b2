"""Names of folders as labels: `bird;boat` holds images of a bird and a boat."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.images import shown
from ltrun.data.label_arrays import hot_of
from ltrun.data.label_cells import SEPARATOR
from ltrun.errors import DataError, did_you_mean


def folder_sets(
    folders: Mapping[str, Sequence[str]], places: Mapping[str, Path]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.bool_]]]:
    """Returns the names of the C classes, in label order, and split -> (F, C) the labels of its folders.

    folders: split -> names of its F folders. places: split -> where they lie. The classes are the labels of the training
    folders, sorted, numerically where all are numbers. Raises DataError for an empty label, a label that training lacks, and a
    single class.
    """
    labels = {split: [_labels(name, places[split]) for name in names] for split, names in folders.items()}
    trained = {label for some in labels["train"] for label in some}
    numbers = all(label.isascii() and label.isdigit() for label in trained)
    names = tuple(sorted(trained, key=lambda label: (int(label), label) if numbers else (0, label)))
    if len(names) == 1:
        raise DataError(f"{shown(places['train'])} holds a single class, '{names[0]}': add images with a second label")
    number = {name: label for label, name in enumerate(names)}
    for split, found in labels.items():
        for folder, some in zip(folders[split], found, strict=True):
            if unknown := next((label for label in some if label not in number), None):
                where = shown(places[split] / folder)
                raise DataError(
                    f"the label '{unknown}' of {where} is unknown in training{did_you_mean(unknown, names)}: add training "
                    "images of it, or rename the folder"
                )
    return names, {split: hot_of([[number[x] for x in some] for some in found], len(names)) for split, found in labels.items()}


def _labels(name: str, place: Path) -> list[str]:
    found = [unicodedata.normalize("NFC", part.strip()) for part in name.split(SEPARATOR)]
    if not all(found):
        raise DataError(f"{shown(place / name)} has an empty label in its name: write the labels as in 'bird;boat'")
    return found
