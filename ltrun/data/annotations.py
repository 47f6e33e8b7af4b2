"""Labels of images from their annotations: the XML files of VOC, and the JSON files of COCO."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ltrun.data.images import shown
from ltrun.data.label_sets import COCO_2014, coco_key
from ltrun.data.source import reading
from ltrun.errors import DataError

LARGEST = 2**20  # bytes of an annotation of one image; VOC's largest has 20 kB
SMALLEST = 1.0  # pixels a side of a box that counts


def voc_labels(file: Path, classes: Mapping[str, int], difficult: bool) -> list[int]:
    """Returns the labels of the objects in an annotation of VOC, each once. difficult: whether difficult objects count.

    Parts of a person, such as a head, are no objects. Raises DataError for a file that is not VOC's, and for an object that is
    none of the classes.
    """
    with reading(file):
        content = file.read_bytes() if file.stat().st_size <= LARGEST else b""
    if not content or b"<!" in content.replace(b"<!--", b""):  # a document type may hold entities that fill the memory
        raise DataError(f"{shown(file)} is no annotation of VOC: get it from the archive again")
    try:
        objects = ElementTree.fromstring(content).findall("object")
    except ElementTree.ParseError as error:
        raise DataError(f"{shown(file)} cannot be read as XML ({error}): get it from the archive again") from None
    found = set()
    for some in objects:
        name = (some.findtext("name") or "").strip()
        if name not in classes:
            raise DataError(f"{shown(file)}: the object '{shown(name)}' is none of the {len(classes)} classes of VOC")
        if difficult or (some.findtext("difficult") or "0").strip() != "1":
            found.add(classes[name])
    return sorted(found)


def coco_labels(file: Path, classes: Sequence[str], crowd: bool) -> dict[str, list[int]]:
    """Returns key -> labels of the images in instances of COCO 2017, in their order, each label once.

    Category ids have gaps, so a label is the rank of its id among the categories. crowd: whether crowds count. A box with a
    side below one pixel, or without an area, does not count, as in the code of distribution-balanced loss. Raises DataError for
    a file of other categories or of another year, and for a category that it does not list.
    """
    with reading(file):
        content = file.read_bytes()
    try:
        found: dict[str, Any] = json.loads(content)
        ranks = {row["id"]: rank for rank, row in enumerate(sorted(found["categories"], key=lambda row: row["id"]))}
        named = {row["id"]: row["name"] for row in found["categories"]}
        keys = {row["id"]: coco_key(row["file_name"]) for row in found["images"]}
        old = next((row["file_name"] for row in found["images"] if COCO_2014.match(row["file_name"])), None)
        rows = [(row["image_id"], row["category_id"], row) for row in found["annotations"]]
        year = (found.get("info") or {}).get("year")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(
            f"{shown(file)} does not hold the instances of COCO (categories, images with file_name, annotations with "
            "category_id): get annotations_trainval2017.zip again"
        ) from None
    if old or year not in (None, 2017):
        which = f"names {shown(old)}" if old else f"is of the year {shown(str(year))}"
        raise DataError(f"{shown(file)} {which}, and COCO-LT is of 2017: put the file of annotations_trainval2017.zip there")
    if [named[id] for id in ranks] != list(classes):
        raise DataError(
            f"{shown(file)} has {len(ranks)} categories that are not the {len(classes)} of COCO's instances, "
            f"'{classes[0]}' to '{classes[-1]}': get annotations_trainval2017.zip again"
        )
    labels: dict[str, set[int]] = {key: set() for key in keys.values()}
    for image, category, row in rows:
        if category not in ranks or image not in keys:
            what = f"category_id {category}, which is none of its categories" if category not in ranks else f"image_id {image}"
            raise DataError(f"{shown(file)}: an annotation of image {shown(str(image))} has {shown(what)}: get it again")
        if (crowd or not row.get("iscrowd")) and _counts(row):
            labels[keys[image]].add(ranks[category])
    return {key: sorted(some) for key, some in labels.items()}


def _counts(row: Mapping[str, Any]) -> bool:
    """Returns whether an annotation counts for the code of distribution-balanced loss."""
    width, height = (row.get("bbox") or [0, 0, SMALLEST, SMALLEST])[2:4]
    return not row.get("ignore") and row.get("area", 1) > 0 and min(width, height) >= SMALLEST
