"""Keys of the images of ImageNet, Places365 and iNaturalist: a line of a list and a file on disk with one key are one image.

Lists and layouts spell one image in several ways: `val/n01440764/ILSVRC2012_val_00029930.JPEG` is
`val/ILSVRC2012_val_00029930.JPEG` elsewhere, and `train/apartment_building-outdoor/00000794.jpg` is
`data_256/a/apartment_building/outdoor/00000794.jpg`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

TRAIN = re.compile(r"(n\d{8}_\d+)(?:_n\d{8})?$")  # files in the hub's parquet end with the class once more
VAL = re.compile(r"(ILSVRC2012_(?:val|test)_\d{8})(?:_n\d{8})?$")
WNID = re.compile(r"n\d{8}")
PLACES_VAL = re.compile(r"Places365_(?:val|test)_\d{8}$")
PLACES_TRAIN = re.compile(r"[\w-]+/\d{8}$")
SPLITS = re.compile(r"(?:data|train|val|test)(?:_256|_large)?(?:_?places365\w*)?")  # not the class train_interior
HASH = re.compile(r"[0-9a-f]{32}$")


@dataclass(frozen=True)
class Keys:
    """Spelling of one collection of images. of: path -> key. known: what a key of the collection looks like. class_of: path ->
    the class that the path shows, in the collection's own words, or None where it shows none. example: a key, for sentences.
    """

    of: Callable[[str], str]
    class_of: Callable[[str], str | None]
    known: re.Pattern[str]
    example: str


def stem(path: str) -> str:
    """Returns the name of a file without folders and without the last ending."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def imagenet_key(path: str) -> str:
    """Returns `n01440764_762` or `ILSVRC2012_val_00029930`, without the class that the hub's parquet files append."""
    name = stem(path)
    found = TRAIN.match(name) or VAL.match(name)
    return found[1] if found else name


def imagenet_class(path: str) -> str | None:
    """Returns the wnid that a training image's name, or else the folder, begins with."""
    name = stem(path)
    if TRAIN.match(name):
        return name[:9]
    folder = path.rpartition("/")[0].rpartition("/")[2]
    return folder if WNID.fullmatch(folder) else None


def places_key(path: str) -> str:
    """Returns `Places365_val_00003597` of a validation image, else class and name, because classes number their images alike:
    `apartment_building-outdoor/00000794`."""
    name = stem(path)
    return name if PLACES_VAL.match(name) else f"{_places_folders(path)}/{name}"


def places_class(path: str) -> str | None:
    return _places_folders(path) or None


def _places_folders(path: str) -> str:
    """Returns the folders of a class joined by -, without `train`, `data_256` or what else stands before, and without the
    folder of the first letter."""
    folders = path.split("/")[:-1]
    start = max((i + 1 for i, folder in enumerate(folders) if SPLITS.fullmatch(folder)), default=0)
    folders = folders[start:]
    if folders and len(folders[0]) == 1:
        folders = folders[1:]
    return "-".join(folders)


def inaturalist_class(path: str) -> str | None:
    """Returns the category's number, the last folder: `train_val2018/Plantae/7291/<hash>.jpg`."""
    folder = path.rpartition("/")[0].rpartition("/")[2]
    return str(int(folder)) if folder.isascii() and folder.isdigit() else None


IMAGENET = Keys(imagenet_key, imagenet_class, re.compile(f"{TRAIN.pattern}|{VAL.pattern}"), "n01440764_762")
PLACES = Keys(places_key, places_class, re.compile(f"{PLACES_VAL.pattern}|{PLACES_TRAIN.pattern}"), "airfield/00004851")
INATURALIST = Keys(stem, inaturalist_class, HASH, "9f8ecb39e5f767e39e9b28e34488f179")
OWN = Keys(lambda path: path, lambda path: None, re.compile(""), "photos/0001.jpg")
