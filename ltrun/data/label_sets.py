"""Lists of images with any number of labels, and the published counts of VOC-LT and COCO-LT."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from ltrun.data.files import Rows
from ltrun.data.images import shown
from ltrun.data.keys import Keys
from ltrun.data.label_arrays import LabelArray, counts_of, hot_of
from ltrun.data.lists import ImageList
from ltrun.data.published import Benchmark
from ltrun.data.source import reading
from ltrun.errors import DataError

Name = Literal["voc_lt", "coco_lt"]
COCO_2014 = re.compile(r"COCO_(?:train|val)2014_")
LISTS = "github.com/wutong16/DistributionBalancedLoss (Wu et al., 2020)"


def voc_key(path: str) -> str:
    """Returns the name of an image's file: `2008_000023.jpg`, of a path or of an id alone."""
    name = path.rpartition("/")[2]
    return name if "." in name else f"{name}.jpg"


def coco_key(path: str) -> str:
    """Returns `000000554625.jpg`, also for the name of 2014, `COCO_train2014_000000554625.jpg`, and for an id alone."""
    name = COCO_2014.sub("", path.rpartition("/")[2])
    stem, dot, ending = name.rpartition(".")
    return f"{stem}{dot}{ending}" if dot else f"{name:0>12}.jpg"


VOC = Keys(voc_key, lambda path: None, re.compile(r"(\d{4}_)?\d{6}\.jpg$"), "2008_000023.jpg")
COCO = Keys(coco_key, lambda path: None, re.compile(r"\d{12}\.jpg$"), "000000554625.jpg")


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelSets(Benchmark):
    """A published data set of several labels. images: split -> its images, and those without a label. places: split -> folders
    of its images, relative to the root."""

    images: dict[str, tuple[int, int]]
    places: dict[str, tuple[str, ...]]


@lru_cache(maxsize=2)
def label_sets(name: Name) -> LabelSets:
    """Returns a published data set by its option's name."""
    content = json.loads((files("ltrun.data") / "counts" / f"{name}.json").read_text())
    classes = tuple(content["classes"])
    counts = {split: np.array(content[split], dtype=np.int64) for split in ("train", "test")}
    images = {split: (some[0], some[1]) for split, some in content["images"].items()}
    if name == "voc_lt":
        inside = tuple(f"{above}ImageSets/Main/test.txt" for above in ("VOCdevkit/VOC2007/", "VOC2007/"))
        return LabelSets(
            "VOC-LT", VOC, classes, counts,
            {"train": ("voc_lt_train.txt", "img_id.txt"), "test": ("voc_lt_test.txt", *inside)},
            f"{LISTS}, images from host.robots.ox.ac.uk/pascal/VOC: VOC2012 and VOC2007",
            (("a tar", r".*\.tar:"), ("VOCdevkit", r"(.*/)?VOCdevkit/"), ("folders of the years", r"(.*/)?VOC20\d\d/")),
            images=images,
            places={split: (f"VOCdevkit/{year}/JPEGImages", f"{year}/JPEGImages") for split, year in
                    {"train": "VOC2012", "test": "VOC2007"}.items()},
        )  # fmt: skip
    return LabelSets(
        "COCO-LT", COCO, classes, counts,
        {"train": ("coco_lt_train.txt", "img_id.txt"), "test": ("coco_lt_test.txt",)},
        f"{LISTS}, images from cocodataset.org: train2017 and val2017",
        (("a tar", r".*\.tar:"), ("folders of 2014", r".*COCO_"), ("folders of 2017", r"(.*/)?(train|val)2017/")),
        images=images,
        places={split: (year, f"images/{year}") for split, year in {"train": "train2017", "test": "val2017"}.items()},
    )  # fmt: skip


def read_sets(file: Path, known: LabelSets) -> tuple[ImageList, bool]:
    """Returns the images of a list in their order, and whether it has labels: a list none of whose lines has a label names
    images alone, in paths or ids.

    A line is a path, and the numbers of the classes behind it; a blank at its end does not count. Raises DataError for a file
    without lines, and for a label that is no number of a class.
    """
    with reading(file):
        content = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    lines = [(number, words) for number, line in enumerate(content.split("\n"), 1) if (words := line.split())]
    if not lines:
        raise DataError(
            f"{shown(file)} is empty: it should hold lines of a path and its labels, such as '{known.keys.example} 0 4'"
        )
    most = len(known.classes) - 1
    sets = []
    for number, words in lines:
        for word in words[1:]:
            if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) <= most):
                raise DataError(
                    f"{shown(file)}, line {number:,}: the label {shown(word)!r} of {shown(words[0])} is none of the "
                    f"{most + 1} classes of {known.title}, numbered from 0 to {most}: get the list from {known.source}"
                )
        if not known.keys.known.match(known.keys.of(words[0])):
            raise DataError(
                f"{shown(file)} names {shown(words[0])}, but images of {known.title} are named as {known.keys.example}: get "
                f"the list from {known.source}, or give dataset=table dataset.task=multi_label for images of your own"
            )
        sets.append([int(word) for word in words[1:]])
    labels = hot_of(sets, len(known.classes))
    return ImageList(file, [words[0].removeprefix("./") for _, words in lines], labels), any(sets)


def compared(given: ImageList, split: str, known: LabelSets) -> str:
    """Returns what to say of a list's labels, or raises DataError for other images per class than published."""
    said = f"{shown(given.file)}: {len(given.paths):,} images"
    wrong = difference(given.labels, split, known)
    if wrong is None:
        without = known.images[split][1]
        return f"{said}, {without} of them without a label, as the published {known.titles[split]} list of {known.title}"
    other = "test" if split == "train" else "train"
    if difference(given.labels, other, known) is None:
        raise DataError(
            f"{shown(given.file)} is the {known.titles[other]} list of {known.title}, not the {known.titles[split]} list"
        )
    raise DataError(f"{said}, but {wrong}: get the list from {known.source}, or give dataset=table dataset.task=multi_label")


def difference(labels: LabelArray, split: str, known: LabelSets) -> str | None:
    """Returns how labels differ from the published counts of a split, in words; None where they do not."""
    counts, published = counts_of(labels, len(known.classes)), known.counts[split]
    images, without = known.images[split]
    if len(labels) != images:
        return f"the {known.titles[split]} list of {known.title} has {images:,}"
    if (wrong := np.flatnonzero(counts != published)).size:
        if np.array_equal(np.sort(counts), np.sort(published)):
            return f"its classes are in another order than those of {known.title}"
        first, more = wrong[0], f", and {len(wrong) - 1} more classes differ" if len(wrong) > 1 else ""
        return f"class '{known.classes[first]}' has {counts[first]:,} here and {published[first]:,} as published{more}"
    if (empty := int((~labels.any(axis=1)).sum())) != without:
        return f"{empty} of them have no label, and {without} as published"
    return None


def rows_apart(one: LabelArray, other: LabelArray) -> Rows:
    """Returns the rows whose labels differ."""
    return np.flatnonzero((one != other).any(axis=1))
