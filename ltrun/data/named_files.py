"""Image files that a table names: found below the root, folder by folder; nothing outside the root is ever read."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.class_folders import ENDINGS, inside
from ltrun.data.images import shown
from ltrun.errors import DataError

DRIVE = re.compile(r"[A-Za-z]:/")  # absolute paths of Windows

Error = Callable[[int, str], DataError]


@dataclass(frozen=True, eq=False)
class NamedFiles:
    """Where N named images are. paths: relative to the root, POSIX; as named where they lie outside the root. outside: the rows
    of such paths. present: (N,) whether there is such a file in the root."""

    paths: list[str]
    present: NDArray[np.bool_]
    outside: list[int]


def find_files(root: Path, prefix: str, cells: Sequence[str], error: Error) -> NamedFiles:
    """Returns the files that N cells name, as paths relative to the root after `prefix`, or absolute ones.

    A name without the ending of an image is the file's name without its ending, as in tables of image ids. Lists each folder
    once, so that a hundred thousand names take a second. error: (row, what is wrong) -> the error, which names the row. Raises
    DataError for an empty name, a link out of the root, an address of the web, and an ending that is not unique.
    """
    paths, outside = _below(root, prefix, cells, error)
    rows: dict[str, list[int]] = defaultdict(list)
    left = set(outside)
    for row, path in enumerate(paths):
        if row in left:
            continue
        rows[path.rpartition("/")[0]].append(row)
    present = np.zeros(len(paths), dtype=bool)
    for folder, some in rows.items():
        entries = _entries(root, folder)
        stems: dict[str, list[str]] | None = None
        for row in some:
            name = paths[row].rpartition("/")[2]
            if name not in entries and not name.lower().endswith(ENDINGS):
                stems = _stems(entries) if stems is None else stems
                endings = stems.get(name, [])
                if len(endings) > 1:
                    raise error(
                        row,
                        f"'{shown(name)}' may be {' or '.join(map(shown, sorted(endings)))}: write the whole name of the file",
                    )
                name = endings[0] if endings else name
                paths[row] = f"{folder}/{name}" if folder else name
            present[row] = name in entries
            if entries.get(name):  # a link
                inside(root / paths[row], root)
    return NamedFiles(paths, present, outside)


def _below(root: Path, prefix: str, cells: Sequence[str], error: Error) -> tuple[list[str], list[int]]:
    """Returns the paths of N cells relative to the root, and the rows of paths outside."""
    tops = [f"{top}/" for top in (root.absolute(), root.resolve())]
    found: list[str] = []
    outside: list[int] = []
    for row, cell in enumerate(cells):
        name = cell.replace("\\", "/") if "\\" in cell else cell
        if not name or "\0" in name:
            raise error(row, "it names no image: fill in the path, or remove the row")
        if name.startswith(("http:", "https:", "s3:", "gs:")):
            raise error(row, f"{shown(name)} is an address, and ltrun downloads no images: fetch them and name the files")
        path = prefix + name
        if name[0] in "/." or "/." in name or "//" in name or DRIVE.match(name):
            if name[0] == "/" or DRIVE.match(name):
                path = next((name.removeprefix(top) for top in tops if name.startswith(top)), "..")
            path = os.path.normpath(path)
            if path.startswith(("/", "../")) or path == "..":
                path = cell
                outside.append(row)
        found.append(path)
    try:
        "\n".join(found).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        row = next(row for row, path in enumerate(found) if any("\ud800" <= c <= "\udfff" for c in path))
        raise error(row, f"{shown(found[row])} is no text that can name a file: repair the path") from None
    return found, outside


def _entries(root: Path, folder: str) -> dict[str, bool]:
    """Returns name -> whether it is a link, of all files in a folder; none if there is no such folder."""
    path = root / folder
    inside(path, root)
    try:
        with os.scandir(path) as listing:
            return {entry.name: entry.is_symlink() for entry in listing if not entry.is_dir(follow_symlinks=False)}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _stems(entries: Iterable[str]) -> dict[str, list[str]]:
    """Returns name without its ending -> the names of images with one."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in entries:
        stem, dot, ending = name.rpartition(".")
        if dot + ending.lower() in ENDINGS:
            found[stem].append(name)
    return found
