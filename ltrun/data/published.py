"""Published counts of ImageNet-LT, Places-LT and iNaturalist 2018, and the splits that a list of images turns out to be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ltrun.data.keys import IMAGENET, INATURALIST, PLACES, Keys

Name = Literal["imagenet_lt", "places_lt", "inat18"]
Counts = NDArray[np.int64]
NAMES: tuple[Name, ...] = get_args(Name)
TITLES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, eq=False)
class Benchmark:
    """One published data set. classes: in label order, in the words of its file names. counts: split -> (C,) images per class.

    lists: split -> usual names of its list, the first one the original's. source: where the lists come from. layouts: a title,
    and a pattern of the paths of images in that layout, relative to the root; the first that fits counts. titles: of the lists.
    """

    title: str
    keys: Keys
    classes: tuple[str, ...]
    counts: Mapping[str, Counts]
    lists: Mapping[str, Sequence[str]]
    source: str
    layouts: Sequence[tuple[str, str]]
    titles: Mapping[str, str] = field(default_factory=lambda: TITLES)

    @cached_property
    def label_of(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.classes)}


def benchmark(name: Name) -> Benchmark:
    """Returns a published data set by its option's name."""
    return _benchmarks()[name]


def split_of(counts: Counts, given: Benchmark) -> tuple[Benchmark, str] | None:
    """Returns the data set and the split whose published list has exactly these images per class, `given` first; else None."""
    others = [other for other in _benchmarks().values() if other is not given]
    for candidate in (given, *others):
        for split, published in candidate.counts.items():
            if np.array_equal(published, counts):
                return candidate, split
    return None


def owner_of(path: str, given: Benchmark) -> str | None:
    """Returns the title of another data set whose images are named like this path, if `given` does not name its images so."""
    if given.keys.known.match(given.keys.of(path)):
        return None
    fitting = (other.title for other in _benchmarks().values() if other.keys.known.match(other.keys.of(path)))
    return next(fitting, None)


@lru_cache(maxsize=1)
def _benchmarks() -> dict[str, Benchmark]:
    imagenet, places, inat = (_read(name) for name in NAMES)
    return {
        "imagenet_lt": Benchmark(
            "ImageNet-LT", IMAGENET, *imagenet,
            {split: (f"ImageNet_LT_{split}.txt", f"{split}.txt") for split in ("train", "val", "test")},
            "github.com/zhmiao/OpenLongTailRecognition-OLTR (Liu et al., 2019), images from image-net.org",
            (
                ("the hub's parquet files", r".*\.parquet:"),
                ("a tar of tars", r".*\.tar:.*\.tar:"),
                ("one tar a class", r".*n\d{8}\.tar:"),
                ("a tar", r".*\.tar:"),
                ("Kaggle's folders", r"(ILSVRC/)?Data/CLS-LOC/"),
                ("folders of ImageNet_LT", r"(.*/)?test/n\d{8}/"),
                ("ILSVRC2012, a folder a class", r"(.*/)?n\d{8}/[^/]*$"),
                ("ILSVRC2012, a flat folder", r".*ILSVRC2012_val_\d+"),
            ),
        ),
        "places_lt": Benchmark(
            "Places-LT", PLACES, *places,
            {split: (f"Places_LT_{split}.txt", f"{split}.txt") for split in ("train", "val", "test")},
            "github.com/zhmiao/OpenLongTailRecognition-OLTR (Liu et al., 2019), images from places2.csail.mit.edu",
            (
                ("a tar", r".*\.tar:"),
                ("Places365, small images, folders by first letter", r"(.*/)?data_256/[a-z]/"),
                ("Places365, large images, folders by first letter", r"(.*/)?data_large/[a-z]/"),
                ("Places365, a flat folder", r"(.*/)?val(_256|_large)?/[^/]*$"),
                ("Places365, a folder a class", r".*/[^/]*$"),
            ),
        ),
        "inat18": Benchmark(
            "iNaturalist 2018", INATURALIST, *inat,
            {
                "train": ("iNaturalist18_train.txt", "train.txt", "train2018.json"),
                "test": ("iNaturalist18_val.txt", "val.txt", "val2018.json"),
            },
            "github.com/visipedia/inat_comp, 2018: train2018.json and val2018.json, and the images train_val2018.tar.gz",
            (("a tar", r".*\.tar:"), ("train_val2018, a folder a category", r".*\d+/[^/]*$"), ("a flat folder", "")),
            {"train": "training", "test": "validation"},  # the literature tests on the official validation images
        ),
    }  # fmt: skip


def _read(name: Name) -> tuple[tuple[str, ...], dict[str, Counts]]:
    """Returns the classes and the published counts of a data set. A count that all classes share is written once."""
    content = json.loads((files("ltrun.data") / "counts" / f"{name}.json").read_text())
    train = np.array(content["train"], dtype=np.int64)
    classes = content["classes"].split() if "classes" in content else map(str, range(len(train)))
    balanced = {split: np.full(len(train), content[split]) for split in ("val", "test") if split in content}
    return tuple(classes), {"train": train} | balanced
