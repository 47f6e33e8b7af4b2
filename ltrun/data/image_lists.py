"""Data sets of listed images: ImageNet-LT, Places-LT and iNaturalist 2018 as they are published, and lists of one's own."""

# No `from __future__ import annotations`: `bind` reads the annotations of inherited fields in the modules of subclasses.
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ltrun.data.files import Files
from ltrun.data.images import shown
from ltrun.data.joins import Join, Root, stays
from ltrun.data.keys import OWN
from ltrun.data.label_arrays import counts_of
from ltrun.data.list_checks import checked
from ltrun.data.listed import Found, Listed
from ltrun.data.lists import ImageList, check_apart, class_folders_of, find_lists, names_of, own_classes, read_list
from ltrun.data.missing import leave_out
from ltrun.data.photos import TEST_FRACTION, NamedPhotos
from ltrun.data.published import TITLES, Benchmark, Name, benchmark
from ltrun.data.source import folder_of
from ltrun.errors import DataError
from ltrun.machine import at_home

Rows = NDArray[np.int64]
SPLITS = ("train", "val", "test")


@dataclass(kw_only=True, eq=False)
class ImageLists(NamedPhotos):
    """Lists of one's own: text files with a line `path label` for each image, labels from 0 on, paths relative to the root.

    train, val, test: the lists, relative to `lists` or the root; null: train.txt, val.txt and test.txt where they exist. lists:
    the folder of the lists; null: the root. `missing` counts for each list. The classes are named as their folders, if each
    class has one of its own, or by a classnames.txt beside the lists, with lines of a folder and a name. An image may lie in a
    tar below the root; its path is the member's name then.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None
    lists: str | None = None

    of_splits: ClassVar[str] = "list"

    def find(self) -> Found:
        root = opened(self.folder)
        given = {"train": self.train, "val": self.val, "test": self.test}
        files = chosen(root, self.lists, given, {split: (f"{split}.txt",) for split in SPLITS})
        if "train" not in files:
            raise DataError(
                f"{shown(root)} holds no train.txt: give the list of training images as dataset.train=FILE, with lines "
                "'path label'"
            )
        self.refuse_ineffective({split: shown(file) for split, file in files.items()})
        lists = {split: read_list(file) for split, file in files.items()}
        classes = own_classes(lists["train"], [lists[split] for split in lists if split != "train"])
        names = names_of(files["train"].parent, class_folders_of(lists["train"], classes))
        for some in lists.values():
            if wrong := next((path for path in some.paths if not stays(path)), None):
                raise DataError(
                    f"{shown(some.file)} names {shown(wrong)}, a place outside dataset.root: write paths relative to the root"
                )
        check_apart(lists, OWN)
        splits, notes = joined(Root(root, OWN, "own"), lists, names, self.missing)
        return Found(splits, names, notes)


@dataclass(kw_only=True, eq=False)
class PublishedLists(NamedPhotos):
    """ImageNet-LT, Places-LT or iNaturalist 2018, in every layout in which their images are common; see `ltrun.data.published`.

    A line of a list is a key: its path is tried first, then the image is looked for by its name everywhere below the root, in
    folders and in tars. The lists must have the published images of each class. train, val, test: the lists, relative to
    `lists` or the root; null: found by their usual names. lists: the folder of the lists; null: the root, or a folder in it.
    `missing` counts for each list. The names of the classes come from classnames.txt or categories.json beside the training
    list; without them they are wnids, folders or numbers.

    (Liu et al., 2019, arXiv 1904.05160; Van Horn et al., 2018, arXiv 1707.06642)
    """

    benchmark: Name
    test_fraction: float = field(default=TEST_FRACTION, init=False)  # the test list is the test split
    stretch: bool = field(default=False, init=False)
    train: str | None = None
    val: str | None = None
    test: str | None = None
    lists: str | None = None

    upright: ClassVar[bool] = False  # the reference code ignores the orientation that a file's EXIF says

    def find(self) -> Found:
        root, known = opened(self.folder), benchmark(self.benchmark)
        given = {"train": self.train, "val": self.val, "test": self.test}
        files = chosen(root, self.lists, given, known.lists)
        if self.val is None and files.get("val") == files.get("test"):
            files.pop("val", None)  # tests on the validation list
        for split in ("train", "test"):
            if split not in files:
                raise DataError(lacking(split, root if self.lists is None else folder_of(self.lists), known))
        self.refuse_ineffective({split: shown(file) for split, file in files.items()})
        names = names_of(files["train"].parent, known.classes)
        lists, notes = {}, list[str]()
        for split, file in files.items():
            lists[split], said = checked(read_list(file), split, known, names)
            notes += said
        check_apart(lists, known.keys)
        splits, found = joined(Root(root, known.keys, self.benchmark), lists, names, self.missing, known)
        return Found(splits, names, (*notes, *found))


def opened(root: Path) -> Path:
    """Returns a root that is a folder. Raises DataError."""
    if not root.is_dir():
        what = "is a file" if root.is_file() else "is not there"
        raise DataError(f"{shown(root)} {what}: give the folder that holds the images as dataset.root=FOLDER")
    return root


def chosen(
    root: Path, lists: str | None, given: Mapping[str, str | None], names: Mapping[str, Sequence[str]]
) -> dict[str, Path]:
    """Returns split -> its list, as given or as found, in the order of SPLITS. Raises DataError for an absent list."""
    found = find_lists(root, lists, names)
    for split, path in given.items():
        if path is None:
            continue
        written = at_home(path, f"dataset.{split}")
        places = [folder / written for folder in ([] if lists is None else [folder_of(lists)]) + [root]]
        here = next((place for place in places if place.is_file()), None)
        if here is None:
            tried = " and ".join(shown(place) for place in places)
            raise DataError(f"dataset.{split}: there is no list {tried}: give a path relative to dataset.lists or dataset.root")
        found[split] = here
    return {split: found[split] for split in SPLITS if split in found}


def lacking(split: str, place: Path, known: Benchmark) -> str:
    """Returns the sentence for a list that is not there."""
    names = " or ".join(known.lists[split])
    return (
        f"the {known.titles[split]} list of {known.title} is missing: looked for {names} in {shown(place)} and in folders "
        f"there that are named like the data set; get it from {known.source}, and give its folder as dataset.lists=FOLDER"
    )


def joined(
    root: Root, lists: Mapping[str, ImageList], names: Sequence[str], missing: float, known: Benchmark | None = None
) -> tuple[dict[str, Listed], tuple[str, ...]]:
    """Returns the images of each list, and where they lie, in words.

    missing: `dataset.missing`. Raises DataError for more missing images than that, and for a class that they leave without
    training images.
    """
    splits, notes = {}, []
    for split, given in lists.items():
        keys = given.keys(root.keys)
        join = root.find(given.paths, keys)
        named = partial(_shown, keys)
        rows = leave_out(~join.absent, missing, shown(given.file), named, looked(root, given, known))
        labels = given.labels[rows]
        before, left = (counts_of(some, len(names)) for some in (given.labels, labels))
        if split == "train" and (lost := np.flatnonzero((before > 0) & (left == 0))).size:
            raise DataError(
                f"class '{names[lost[0]]}' has no training image left: all that {shown(given.file)} names are missing"
            )
        files = Files.of([keys[row] for row in rows.tolist()]).holding(join.sizes[rows], times=join.times[rows])
        splits[split] = Listed(root.path, join.images(rows), labels, files, join.stamps_of(rows))
        notes.append(layout(join, split, rows, known))
    return splits, tuple(notes)


def _shown(keys: Sequence[str], row: int) -> str:
    return shown(keys[row])


def layout(join: Join, split: str, rows: Rows, known: Benchmark | None) -> str:
    """Returns where the images of a split lie: a name of the layout, and an example."""
    example = join.place(int(rows[0]))
    titles = known.layouts if known else ()
    title = next((f"{title}, " for title, pattern in titles if re.match(pattern, example)), "")
    return f"{TITLES[split]}: {len(rows):,} images below {shown(join.root)}, {title}such as {shown(example)}"


def looked(root: Root, given: ImageList, known: Benchmark | None) -> str:
    """Returns where the images of a list were looked for, and what lies there that might hold them."""
    words = f"{shown(root.path)} for {shown(given.paths[0])} and so on"
    if root.listing is None:
        return words
    others = root.listing.others
    files = f"{len(others['tars']):,} tars and {len(others['parquet']):,} Parquet files"
    found = f"{len(root.listing.index.keys):,} images, {files}"
    packed = f"; {shown(others['packed'][0])} is compressed, and must be unpacked first" if others["packed"] else ""
    if known is None:
        return words + packed
    return f"{words}, and by name among the {found} below it{packed} (images and lists: {known.source})"
