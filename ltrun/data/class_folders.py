"""Class folders: which images lie where, and what they look like. Nothing outside the root is ever read."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltrun.data.cache import Arrays, cached
from ltrun.data.files import digests_of
from ltrun.data.images import SUFFIXES, decode_all
from ltrun.data.stamps import Stamps
from ltrun.errors import DataError

KINDS = "PNG, JPEG, BMP, GIF, TIFF, WebP or PPM"
AT_ONCE = 1000  # images that are decoded together where none is kept

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
        """What changes when the images do."""
        return Stamps.of(self.paths, self.root)

    @cached_property
    def place(self) -> tuple[str, str]:
        """Which images these are, whatever lies in them. The root is resolved once: to resolve each file takes longer than to
        read it."""
        names = b"\0".join(self.stamps.names.tolist())
        return str(self.root.resolve()), hashlib.sha256(names).hexdigest()


class Decoded(NamedTuple):
    """images: (N, 3, size, size) uint8. digests: (N, 16) uint8 of their pixels. reasons: of those that cannot be read."""

    images: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    reasons: dict[int, str]


def read_images(folder: Folder, size: int, crop: bool) -> Decoded:
    """The images of a folder, decoded once and then from the cache."""

    def decode() -> Arrays:
        images, reasons = decode_all(folder.paths, size, crop)
        return {"images": images, "digests": digests_of(images)} | _arrays(reasons)

    arrays = cached(decode, "folder", size, crop, folder.place, stamps=folder.stamps)
    return Decoded(arrays["images"], arrays["digests"], _reasons(arrays))


def find_unreadable(folder: Folder, size: int) -> dict[int, str]:
    """The reasons of the images that `read_images` with crop could not read, without keeping the others; cached likewise."""

    def check() -> Arrays:
        log.info("looking for unreadable images among %s", f"{len(folder.paths):,}")
        reasons: dict[int, str] = {}
        for first in range(0, len(folder.paths), AT_ONCE):
            _, found = decode_all(folder.paths[first : first + AT_ONCE], size, crop=True)
            reasons |= {first + row: reason for row, reason in found.items()}
        return _arrays(reasons)

    return _reasons(cached(check, "unreadable", size, folder.place, stamps=folder.stamps))


def _arrays(reasons: Mapping[int, str]) -> Arrays:
    rows = np.array(list(reasons), dtype=np.int64)
    return {"unreadable": rows, "reasons": np.array(list(reasons.values()), dtype=np.str_)}


def _reasons(arrays: Arrays) -> dict[int, str]:
    return dict(zip(arrays["unreadable"].tolist(), arrays["reasons"].tolist(), strict=True))


def scan(root: Path, boundary: Path, names: Sequence[str] | None = None) -> Folder:
    """The class folders of a split. names: the classes of the training split, which this one must have, no more, no less.

    Raises DataError for a folder without classes or images, and for a symbolic link to a place outside `boundary`.
    """
    _inside(root, boundary)
    folders = {entry.name: Path(entry.path) for entry in _entries(root, boundary) if entry.is_dir()}
    order = _class_order(list(folders))
    if not order:
        raise DataError(f"{root} holds no class folders: put the images of each class into a folder of its own there")
    if names is not None:
        _same_classes(root, order, names)
        order = tuple(names)
    elif len(order) == 1:
        raise DataError(f"{root} holds a single class, '{order[0]}': add a folder with the images of a second class")
    paths: list[Path] = []
    labels: list[int] = []
    others: list[str] = []
    for label, name in enumerate(order):
        found = _images(folders[name], boundary, others)
        if not found:
            raise DataError(f"class '{name}' has no images in {folders[name]}: put {KINDS} files there, or remove the folder")
        paths += found
        labels += [label] * len(found)
    if others:
        log.info("%s files are no %s by their names and are left out, the first of them %s", len(others), KINDS, others[0])
    return Folder(root, order, paths, np.array(labels, dtype=np.int64))


def _class_order(names: Sequence[str]) -> tuple[str, ...]:
    """Sorted; as numbers if all are ('2' before '10', which a plain sort puts the other way round)."""
    for name in names:
        if not name.isprintable():
            raise DataError(f"the class folder {name!a} has a name that cannot be printed: rename it")
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _same_classes(root: Path, found: Sequence[str], names: Sequence[str]) -> None:
    for name in names:
        if name not in found:
            raise DataError(f"class '{name}' has no folder in {root}, so it cannot be tested: add images of it there")
    for name in found:
        if name not in names:
            raise DataError(f"class '{name}' in {root} is unknown in training: add training images of it, or remove the folder")


def _images(folder: Path, boundary: Path, others: list[str]) -> list[Path]:
    """Returns the image files of a class and appends every other file to `others`."""
    paths = []
    for entry in _entries(folder, boundary):
        is_image = Path(entry.name).suffix.lower() in SUFFIXES
        if entry.is_dir() and not is_image:
            raise DataError(f"{entry.path} is a folder inside a class folder: move its images up, or move it away")
        if is_image:
            paths.append(Path(entry.path))
        else:
            others.append(entry.path)
    return paths


def _entries(folder: Path, boundary: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name, without hidden entries."""
    with os.scandir(folder) as listing:
        entries = sorted((e for e in listing if not e.name.startswith((".", "__MACOSX"))), key=lambda e: e.name)
    for entry in entries:
        if entry.is_symlink():
            _inside(Path(entry.path), boundary)
    return entries


def _inside(path: Path, boundary: Path) -> None:
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(boundary)):  # resolve() gives up on a loop of links
        raise DataError(f"{path} is a symbolic link to a place outside {boundary} and is refused: copy there what it points to")


def has_folders(path: Path) -> bool:
    return path.is_dir() and any(child.is_dir() and not child.name.startswith(".") for child in path.iterdir())
