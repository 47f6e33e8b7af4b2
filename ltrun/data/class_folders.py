"""Class folders of images: scanning them, and ordering their classes. Nothing outside the root is ever read."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.containers import OnDisk
from ltrun.data.files import Files
from ltrun.data.images import SUFFIXES, shown
from ltrun.data.label_arrays import LabelArray
from ltrun.data.listed import Listed
from ltrun.data.stamps import Stamps
from ltrun.errors import DataError, did_you_mean

KINDS = "PNG, JPEG, BMP, GIF, TIFF, WebP or PPM"
ENDINGS = tuple(SUFFIXES)
# Prefixes of the names of hidden folders and of system folders: macOS, Synology, Windows, ext4.
HIDDEN = (".", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Folder:
    """The images of one split, class by class, sorted by name within a class. labels: (N,) int64."""

    root: Path
    names: tuple[str, ...]
    paths: list[Path]
    labels: NDArray[np.int64]

    @cached_property
    def stamps(self) -> Stamps:
        """Stamps of the image files, which change when the images do."""
        return Stamps.of(self.paths, self.root)

    def listed(self, boundary: Path, labels: LabelArray | None = None) -> Listed:
        """Returns the images as a split of a data set whose root is `boundary`. labels: in place of the folders' numbers."""
        files = Files.below(boundary, self.paths).holding(self.stamps.sizes, None, self.stamps.times)
        return Listed(self.root, OnDisk(self.paths), self.labels if labels is None else labels, files, self.stamps)


def scan(root: Path, boundary: Path, names: Sequence[str] | None = None, partial: bool = False, alone: bool = False) -> Folder:
    """Returns the images of a split's class folders. names: the classes of the training split, which this split must have too,
    no more and no less.

    Names match however their accents are encoded. partial: whether classes may have no images here; a warning names them.
    alone: whether there may be one folder alone.
    Raises DataError for a folder without classes or images, and for a symbolic link to a place outside `boundary`.
    """
    inside(root, boundary)
    entries = _entries(root, boundary)
    folders = {entry.name: Path(entry.path) for entry in entries if entry.is_dir()}
    for entry in entries:
        refuse_lost(Path(entry.path))
    order = _class_order(root, list(folders))
    if not order:
        raise DataError(f"{shown(root)} holds no class folders: put the images of each class into a folder of its own there")
    if names is not None:
        folders = _same_classes(root, folders, names, partial)
        order = tuple(names)
    elif len(order) == 1 and not alone:
        raise DataError(f"{shown(root)} holds a single class, '{order[0]}': add a folder with the images of a second class")
    tell_loose(root, [entry for entry in entries if is_image(entry)])
    paths: list[Path] = []
    labels: list[int] = []
    others: list[str] = []
    absent: list[str] = []
    for label, name in enumerate(order):
        found = _images(folders[name], boundary, others) if name in folders else []
        if not found and not partial:
            where = shown(folders[name])
            raise DataError(f"class '{name}' has no images in {where}: put {KINDS} files there, or remove the folder")
        absent += [] if found else [name]
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise DataError(f"{shown(root)} holds no images: put {KINDS} files into its class folders, or remove the folder")
    if absent:
        log.warning("%s has no images of %s: they are not measured there", shown(root), named(absent))
    if others:
        first = shown(others[0])
        log.info("%s files are not named as %s and are left out, such as %s", len(others), KINDS, first)
    return Folder(root, order, paths, np.array(labels, dtype=np.int64))


def tell_loose(place: Path, images: Sequence[os.DirEntry[str]]) -> None:
    """Warns of images beside folders, which are left out."""
    if images:
        sentence = "images in %s itself, beside its folders, are left out: %s, such as %s"
        log.warning(sentence, shown(place), f"{len(images):,}", shown(images[0].name))


def named(classes: Sequence[str]) -> str:
    first = f"class '{classes[0]}'"
    others = "one more class" if len(classes) == 2 else f"{len(classes) - 1:,} more classes"
    return f"{first} and {others}" if len(classes) > 1 else first


def _class_order(root: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names sorted; in numerical order if all names are numbers ('2' before '10').

    Raises DataError for names that cannot be printed, and for two names that look the same.
    """
    alike: dict[str, str] = {}
    for name in sorted(names):
        if not name.isprintable():
            raise DataError(f"the class folder {name!a} has a name that cannot be printed: rename it")
        if (twin := alike.setdefault(_look(name), name)) != name:
            raise DataError(f"{shown(root)} holds {twin!a} and {name!a}, which look the same: make one class folder of them")
    folded = {_look(name).casefold(): name for name in names}
    if alone := [name for name in names if folded[_look(name).casefold()] != name]:
        twin = folded[_look(alone[0]).casefold()]
        log.warning("%s: the classes '%s' and '%s' differ only in case", shown(root), alone[0], twin)
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _look(name: str) -> str:
    """Returns one spelling for names that look the same: macOS stores an accent after its letter, others as one character."""
    return unicodedata.normalize("NFC", name).strip()


def _same_classes(root: Path, folders: Mapping[str, Path], names: Sequence[str], partial: bool) -> dict[str, Path]:
    """Returns class -> its folder, by the names of the training split. Raises DataError for a class that only one split has."""
    known = {_look(name): name for name in names}
    for name in folders:
        if _look(name) in known:
            continue
        if twin := next((other for other in names if _look(other).casefold() == _look(name).casefold()), None):
            way_out = f"move its images to '{twin}'" if twin in folders else f"rename it to '{twin}'"
            raise DataError(f"{shown(folders[name])} differs only in case from class '{twin}' in training: {way_out}")
        unknown = f"class '{name}' in {shown(root)} is unknown in training{did_you_mean(name, names)}"
        raise DataError(f"{unknown}: add training images of it, or remove the folder")
    found = {known[_look(name)]: path for name, path in folders.items()}
    if not partial and (absent := [name for name in names if name not in found]):
        raise DataError(f"class '{absent[0]}' has no folder in {shown(root)}, so it cannot be tested: add images of it there")
    return found


def _images(folder: Path, boundary: Path, others: list[str]) -> list[Path]:
    """Returns the image files of a class and appends every other file to `others`."""
    paths = []
    for entry in _entries(folder, boundary):
        named = _named_as_image(entry)
        if not named and is_folder(entry):
            where = f"{shown(entry.path)} is a folder inside a class folder"
            raise DataError(f"{where}: move its images up, or move it away; folders of splits are called train, val and test")
        if named:
            paths.append(folder / entry.name)
        else:
            others.append(entry.path)
    return paths


def _entries(folder: Path, boundary: Path) -> list[os.DirEntry[str]]:
    """Returns the entries of a folder, sorted by name, without hidden ones. Raises DataError for links out of `boundary`."""
    with os.scandir(folder) as listing:
        entries = sorted((e for e in listing if not e.name.startswith(HIDDEN)), key=lambda e: e.name)
    for entry in entries:
        if entry.is_symlink():
            inside(Path(entry.path), boundary)
    return entries


def _named_as_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(ENDINGS)  # without a Path, which takes longer than the rest of a scan


def is_image(entry: os.DirEntry[str]) -> bool:
    """Returns whether the entry is named as an image and is not a folder."""
    return _named_as_image(entry) and not is_folder(entry)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Returns whether the entry is a folder; False for a link to itself, which cannot be followed."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def inside(path: Path, boundary: Path) -> None:
    """Raises DataError for a path that leads outside the boundary."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(boundary)):  # resolve() gives up on a loop of links
        where = f"{shown(path)} is a symbolic link to a place outside {shown(boundary)}"
        raise DataError(f"{where} and is refused: put a copy of its target there")


def refuse_lost(path: Path) -> None:
    """Raises DataError for a broken symbolic link, which may have been a folder of images."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{shown(path)} is a broken symbolic link: repair it or remove it")


def has_folders(path: Path) -> bool:
    return path.is_dir() and any(child.is_dir() and not child.name.startswith(".") for child in path.iterdir())
