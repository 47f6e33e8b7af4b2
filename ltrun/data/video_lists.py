"""Lists of videos with several labels, `id 178,343` or `class/id frames 178,343,`, and the names of the classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.images import shown
from ltrun.data.source import folder_of, reading
from ltrun.errors import DataError

FOLDERS = ("", "labels", "lists", "videolt", "VideoLT", "VideoLT/labels", "lists/videolt")  # below the root
LABELS = re.compile(r"\d{1,8}(,\d{1,8})*,?", re.ASCII)


@dataclass(frozen=True, eq=False)
class VideoList:
    """One list. ids: the names of N videos. labels: of each video, rising and each once."""

    file: Path
    ids: Sequence[str]
    labels: Sequence[tuple[int, ...]]

    @property
    def classes(self) -> int:
        """The largest label, plus 1."""
        return 1 + max(row[-1] for row in self.labels)

    def hot(self, classes: int) -> NDArray[np.bool_]:
        """Returns the labels as (N, classes). Raises DataError for a label that is none of the classes."""
        found = np.zeros((len(self.ids), classes), dtype=np.bool_)
        lengths = [len(row) for row in self.labels]
        flat = np.concatenate([np.array(row, dtype=np.int64) for row in self.labels])
        if (outside := np.flatnonzero(flat >= classes)).size:
            row = int(np.repeat(np.arange(len(lengths)), lengths)[outside[0]])
            raise DataError(
                f"{shown(self.file)} gives video {shown(self.ids[row])} label {flat[outside[0]]}, and there are {classes:,} "
                f"classes, 0 to {classes - 1}: correct the label, or give the file of names that belongs to the lists as "
                "dataset.names"
            )
        found[np.repeat(np.arange(len(lengths)), lengths), flat] = True
        return found


def find_lists(
    root: Path, lists: str | None, names: Mapping[str, Sequence[str]], given: Mapping[str, str | None]
) -> dict[str, Path]:
    """Returns split -> its file: the given one, or the first of `names` that lies in `lists`, or else in the root, or in a
    folder there with a usual name. A split without a file is left out. Raises DataError for a given file that is not there."""
    places = [(root if lists is None else folder_of(lists)) / folder for folder in FOLDERS]
    found = {}
    for split, candidates in names.items():
        own = given.get(split)
        where, wanted = ([*places, Path()], [own]) if own else (places, candidates)
        path = next((place / name for name in wanted for place in where if (place / name).is_file()), None)
        if path is not None:
            found[split] = path
        elif own:
            raise DataError(f"dataset.{split}: {shown(own)} is neither in {shown(places[0])} nor in the present folder")
    return found


def read_list(file: Path) -> VideoList:
    """Returns the videos of a list in their order.

    Raises DataError for a line of another form, and for a video that comes twice.
    """
    rows = [(number, line.split()) for number, line in _lines(file)]
    if not rows:
        raise DataError(
            f"{shown(file)} is empty: it should hold lines of a video and its labels, such as 'xYjQkWxF8h0 178,343'"
        )
    ids, labels = list[str](), list[tuple[int, ...]]()
    for number, words in rows:
        if len(words) not in (2, 3) or not LABELS.fullmatch(words[-1]) or (len(words) == 3 and not words[1].isdigit()):
            said = "has no label" if len(words) == 1 or words[-1] == "," else "is neither"
            raise DataError(
                f"{shown(file)}, line {number:,}: {shown(' '.join(words))[:200]!r} {said}: write 'id 178,343', or "
                "'class/id frames 178,343,', with the numbers of the classes from 0 on"
            )
        ids.append(words[0].rstrip("/").rpartition("/")[2])
        labels.append(tuple(sorted({int(label) for label in words[-1].rstrip(",").split(",")})))
    if len(set(ids)) < len(ids):
        first = dict[str, int]()
        twin, again = next((id_, row) for row, id_ in enumerate(ids) if first.setdefault(id_, row) != row)
        lines = f"lines {rows[first[twin]][0]:,} and {rows[again][0]:,}"
        raise DataError(f"{shown(file)} names video {shown(twin)} twice, in {lines}: a video belongs into a list once")
    return VideoList(file, ids, labels)


def read_names(file: Path) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """Returns the names of the classes in label order, and (C,) their published numbers of videos where the file has them.

    Lines are `name label count`, as in VideoLT's count-labels-train.lst, or a name alone. Raises DataError for other lines.
    """
    rows = list(_lines(file))
    if all(len(line.split()) == 1 for _, line in rows):
        names, counts = [line.strip() for _, line in rows], None
    else:
        found = dict[int, tuple[str, float]]()
        for number, line in rows:
            name, _, rest = line.strip().partition(" ")
            match = re.fullmatch(r"\s*(\d+)\s+(\d+(?:\.\d*)?)", rest, re.ASCII)
            if match is None or found.setdefault(int(match[1]), (name, float(match[2])))[0] != name:
                raise DataError(
                    f"{shown(file)}, line {number:,}: {shown(line.strip())[:200]!r} names no class of its own: write "
                    "'name label count' on each line, or a name alone"
                )
        if sorted(found) != list(range(len(found))):
            missing = next(label for label in range(len(found)) if label not in found)
            raise DataError(f"{shown(file)} names {len(found):,} classes, and none with label {missing}: add it")
        names = [found[label][0] for label in range(len(found))]
        counts = np.array([found[label][1] for label in range(len(found))]).astype(np.int64)
    if len(set(names)) < len(names) or not names:
        raise DataError(f"{shown(file)} gives two classes one name, or names none: each class needs a name of its own")
    return tuple(names), counts


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines that are not blank, with their numbers."""
    with reading(file):
        text = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
