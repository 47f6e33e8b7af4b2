"""Lists of images: files of lines `path label`, and iNaturalist's annotations in JSON; where they lie, and reading them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ltrun.data.images import shown
from ltrun.data.keys import Keys
from ltrun.data.label_arrays import LabelArray
from ltrun.data.source import folder_of, reading
from ltrun.errors import DataError

BESIDE = ("ImageNet_LT", "imagenet_lt", "Places_LT", "places_lt", "Places_LT_v2", "iNaturalist18", "inat18", "iNat18")
FOLDERS = ("", "lists", "data_txt", *BESIDE, *(f"{above}/{name}" for above in ("lists", "data_txt") for name in BESIDE))
SEVERAL = re.compile(r"\.[A-Za-z]+(\s+\d+)+$")  # further labels at the end of what should be a path


@dataclass(frozen=True, eq=False)
class ImageList:
    """One list. paths: N paths as the list writes them. labels: (N,) int64, or (N, C) bool."""

    file: Path
    paths: Sequence[str]
    labels: LabelArray

    def keys(self, keys: Keys) -> list[str]:
        """Returns the key of each line. Raises DataError for two lines with one key."""
        found = [keys.of(path) for path in self.paths]
        if len(set(found)) < len(found):
            (twin, times), *_ = Counter(found).most_common(1)
            first, second = [row for row, key in enumerate(found) if key == twin][:2]
            more = len(found) - len(set(found)) - 1
            others = f", and {more:,} more lines repeat an image" if more else ""
            raise DataError(
                f"{shown(self.file)} names {shown(twin)} {times} times, in its images {first + 1:,} and {second + 1:,}{others}"
                ": an image belongs into a list once"
            )
        return found


def find_lists(root: Path, lists: str | None, names: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Returns split -> its list, for the lists that exist: in `lists`, or else in the root, or in a folder there that is named
    like a data set or `lists`.

    names: split -> names to look for; the first name that lies anywhere counts.
    """
    places = [(root if lists is None else folder_of(lists)) / folder for folder in FOLDERS]
    found = {}
    for split, candidates in names.items():
        paths = [folder / name for name in candidates for folder in places]
        if path := next((path for path in paths if path.is_file()), None):
            found[split] = path
    return found


def read_list(file: Path) -> ImageList:
    """Returns the lines of a list, in their order. The label is the last word of a line, so paths may hold spaces.

    Raises DataError for a file without lines, and for a line without a label of 0 or more.
    """
    with reading(file):
        content = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    if file.suffix.lower() == ".json":
        return _of_annotations(file, content)
    words = [line.rsplit(None, 1) for line in content.split("\n")]
    rows = [(number, row) for number, row in enumerate(words, 1) if row]
    if not rows:
        raise DataError(f"{shown(file)} is empty: it should hold lines of a path and a label, such as 'train/ant/01.jpg 0'")
    for number, row in rows:
        if len(row) < 2 or not (row[1].isascii() and row[1].isdigit() and len(row[1]) < 10):
            raise DataError(
                f"{shown(file)}, line {number:,}: {shown(' '.join(row))[:200]!r} does not end in a label: write the path, a "
                "space, and the number of the class, from 0 on"
            )
        if SEVERAL.search(row[0]):
            raise DataError(
                f"{shown(file)}, line {number:,}: {shown(' '.join(row))[:200]!r} has several labels, and a list gives one "
                "to each image"
            )
    labels = np.array([row[1] for _, row in rows], dtype=np.str_).astype(np.int64)
    return ImageList(file, [row[0].removeprefix("./") for _, row in rows], labels)


def _of_annotations(file: Path, content: str) -> ImageList:
    """Returns the images of annotations as iNaturalist publishes them: `images` with `file_name`, `annotations` with
    `category_id`."""
    try:
        found = json.loads(content)
        label_of = {row["image_id"]: row["category_id"] for row in found["annotations"]}
        paths = [row["file_name"] for row in found["images"]]
        labels = [label_of.get(row["id"]) for row in found["images"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(
            f"{shown(file)} does not hold the annotations of iNaturalist 2018 (images with file_name, annotations with "
            "image_id and category_id): get train2018.json and val2018.json again"
        ) from None
    if not paths:
        raise DataError(f"{shown(file)} is empty: it names no image")
    for path, label in zip(paths, labels, strict=True):
        if not isinstance(path, str) or type(label) is not int or not 0 <= label < 10**9:
            raise DataError(f"{shown(file)}: the image {shown(str(path))!r} has no category of 0 or more")
    return ImageList(file, paths, np.array(labels, dtype=np.int64))


def own_classes(train: ImageList, others: Sequence[ImageList]) -> int:
    """Returns the number of classes of lists of one's own. Raises DataError for labels that leave a gap in training, and for
    labels that training does not have."""
    counts = np.bincount(train.labels)
    if (absent := np.flatnonzero(counts == 0)).size:
        reason = "labels run from 0 on" if absent[0] == 0 else f"labels run from 0 to {len(counts) - 1:,} here"
        raise DataError(
            f"{shown(train.file)} has no image with label {absent[0]}: {reason}, and each class needs a training image"
        )
    if len(counts) < 2:
        raise DataError(f"{shown(train.file)} holds a single class: add images with label 1")
    for other in others:
        check_range(other, len(counts), "training has")
    return len(counts)


def check_range(given: ImageList, classes: int, whose: str) -> None:
    """Raises DataError for a label that is none of the classes."""
    if (wrong := np.flatnonzero(given.labels >= classes)).size:
        row = wrong[0]
        more = f", and {len(wrong) - 1:,} more labels are too large" if len(wrong) > 1 else ""
        raise DataError(
            f"{shown(given.file)}: {shown(given.paths[row])} has label {given.labels[row]:,}, but {whose} {classes:,} classes, "
            f"0 to {classes - 1:,}{more}"
        )


def names_of(folder: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the classes, from `classnames.txt` or `categories.json` in a folder where they name these classes;
    else the classes as they are. Classes of the same name get their own word behind it."""
    known = _classnames(folder / "classnames.txt") | _categories(folder / "categories.json")
    if not all(name in known for name in classes):
        return tuple(classes)
    given = Counter(known[name] for name in classes)
    return tuple(known[name] if given[known[name]] == 1 else f"{known[name]} ({name})" for name in classes)


def _classnames(file: Path) -> dict[str, str]:
    """Returns class -> name of lines such as `n01440764 tench`."""
    if not file.is_file():
        return {}
    with reading(file):
        lines = file.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    return {words[0]: words[1].strip() for line in lines if len(words := line.split(None, 1)) == 2}


def _categories(file: Path) -> dict[str, str]:
    """Returns number -> species of iNaturalist's `categories.json`."""
    if not file.is_file():
        return {}
    with reading(file):
        content = file.read_bytes()
    try:
        return {str(row["id"]): str(row["name"]) for row in json.loads(content)}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{shown(file)} is no list of categories with id and name: get it again, or remove it") from None


def class_folders_of(given: ImageList, classes: int) -> tuple[str, ...]:
    """Returns the name of each class: the folder of its images where each class has one of its own, else its number."""
    folders: list[set[str]] = [set() for _ in range(classes)]
    for path, label in zip(given.paths, given.labels.tolist(), strict=True):
        folders[label].add(path.rpartition("/")[0].rpartition("/")[2])
    named = [next(iter(found)) for found in folders if len(found) == 1]
    alike = len(set(named)) < classes or not all(named) or not all(name.isprintable() for name in named)
    return tuple(map(str, range(classes))) if alike else tuple(named)


def check_apart(lists: Mapping[str, ImageList], keys: Keys) -> None:
    """Raises DataError for an image of two splits: it would be tested after it was learned."""
    seen: dict[str, str] = {}
    for split, given in lists.items():
        found = given.keys(keys)
        if both := [key for key in found if key in seen]:
            other = shown(lists[seen[both[0]]].file)
            raise DataError(
                f"leakage: {len(both):,} images of {shown(given.file)} are in {other} too, such as {shown(both[0])}: remove "
                "them from one of the lists"
            )
        seen |= dict.fromkeys(found, split)
