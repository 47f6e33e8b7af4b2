"""SADE's own test sets of ImageNet-LT, Places-LT and iNaturalist 2018: lists of a folder, found in the predictions of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import DataError
from ltrun.evaluation.shifts import Integers, ShiftedSets, class_sizes
from ltrun.results.predictions import Predictions
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from ltrun.data.keys import Keys
    from ltrun.data.lists import ImageList

SOURCE = "data_txt/ of github.com/Vanint/SADE-AgnosticLT"
LARGE = (50, 25, 10, 5, 2)
LISTS = {"imagenet_lt": ("ImageNet_LT", LARGE), "places_lt": ("Places_LT", LARGE), "inat18": ("iNaturalist18", (3, 2))}
"""Name of a benchmark -> what the names of its lists begin with, and their ratios."""
WITHOUT = {"iNaturalist18_forward3.txt": 1, "iNaturalist18_backward3.txt": 11}  # images that SADE's lists lack


@dataclass(frozen=True, eq=False)
class _Given:
    """One list as published. keys: of its images, in its order."""

    ratio: int
    images: ImageList
    keys: Sequence[str]

    @property
    def name(self) -> str:
        return self.images.file.name


class ShiftLists:
    """The lists of a folder, for the data sets of some runs; a data set without lists there keeps the drawn test sets.

    A line is `path label`, with a path as in the list of test images; an image is found in the stored predictions by its key
    (`ltrun.data.keys`), so it may lie elsewhere on disk. Zhang et al., 2022, arXiv 2107.09249 (SADE).
    """

    def __init__(self, folder: Path, records: Sequence[RunRecord]) -> None:
        """Reads the lists. Raises DataError for a folder without lists of these runs, for a ratio without its list, and for a
        list that is damaged or names an image twice."""
        from ltrun.data.published import benchmark  # imports torch, which other reports do without

        if not folder.is_dir():
            raise DataError(f"--lists {folder}: there is no such folder; give the one with {SOURCE}")
        wanted = [name for name in LISTS if any(_benchmark(record) == name for record in records)]
        self._keys: dict[str, Keys] = {name: benchmark(name).keys for name in wanted}  # type: ignore[arg-type]
        self._given = {name: found for name in wanted if (found := _read(folder, name, self._keys[name]))}
        self._kept: dict[str, tuple[Predictions, ShiftedSets]] = {}
        if not self._given:
            raise DataError(_none(folder, wanted, records))

    def of(self, record: RunRecord, read: Predictions) -> ShiftedSets | None:
        """Returns the test sets of a run; None where the folder has no lists of its data set.

        Raises DataError for an image that is none of the run's test images, for another label, and for a list that is cut.
        """
        name = _benchmark(record)
        if name not in self._given:
            return None
        if name in self._kept and _alike(self._kept[name][0], read):
            return self._kept[name][1]
        if read.files is None:
            raise DataError("the predictions keep no names of test images, so lists cannot find them: train the run again")
        rows = {key: row for row, key in enumerate(map(self._keys[name].of, read.files.tolist()))}
        support = np.bincount(read.labels, minlength=len(record.classes["names"]))
        given = self._given[name]
        sets = {way: _rows(each, rows, read.labels, support) for way, each in given.items()}
        self._kept[name] = read, ShiftedSets(sets, tuple(each.name for each in given.values()))
        return self._kept[name][1]


def _benchmark(record: RunRecord) -> Any:
    """Returns the name of the published data set that a run reads from lists; None for other data."""
    node = record.config.get("dataset")
    return node.get("benchmark") if isinstance(node, dict) else None


def _alike(one: Predictions, other: Predictions) -> bool:
    if one.files is None or other.files is None:
        return False
    return np.array_equal(one.files, other.files) and np.array_equal(one.labels, other.labels)


def _read(folder: Path, name: str, keys: Keys) -> dict[str, _Given]:
    """Returns name of a test set, as in metrics.SHIFTS -> its list, from forward to backward; empty if none is there."""
    from ltrun.data.lists import find_lists, read_list

    begin, ratios = LISTS[name]
    order = [*(("forward", ratio) for ratio in ratios), *(("backward", ratio) for ratio in ratios[::-1])]
    files = find_lists(folder, None, {f"{way}_{ratio}": (f"{begin}_{way}{ratio}.txt",) for way, ratio in order})
    if not files:
        return {}
    found = {}
    for way, ratio in order:
        if (file := files.get(f"{way}_{ratio}")) is None:
            raise DataError(
                f"--lists {folder} lacks {begin}_{way}{ratio}.txt, and has {len(files)} of the {len(order)} lists of {name}: "
                f"get all of them from {SOURCE}"
            )
        images = read_list(file)
        found[f"{way}_{ratio}"] = _Given(ratio, images, images.keys(keys))
    return found


def _none(folder: Path, wanted: Sequence[str], records: Sequence[RunRecord]) -> str:
    if not wanted:
        data = ", ".join(dict.fromkeys(record.dataset for record in records))
        return f"--lists: SADE has lists of {', '.join(LISTS)}, and the runs are of {data}: leave it out"
    looked = ", ".join(f"{LISTS[name][0]}_forward{LISTS[name][1][0]}.txt" for name in wanted)
    return (
        f"--lists {folder} has no lists of {', '.join(wanted)}: looked for {looked} and so on in it, in data_txt, and in "
        f"folders there that are named like the data set; get them from {SOURCE}"
    )


def _rows(given: _Given, rows: dict[str, int], labels: Integers, support: NDArray[np.int64]) -> Integers:
    """Returns the rows of a list's images in the order of the test split. support: (C,) test images of each class."""
    found = np.array([rows.get(key, -1) for key in given.keys])
    if (absent := np.flatnonzero(found < 0)).size:
        more = f", nor are {len(absent) - 1:,} more of the list" if len(absent) > 1 else ""
        raise DataError(f"{_line(given, absent[0])} is none of the {len(labels):,} test images{more}")
    if (wrong := np.flatnonzero(labels[found] != given.images.labels)).size:
        row = wrong[0]
        raise DataError(
            f"{_line(given, row)} has label {given.images.labels[row]} there, and {labels[found[row]]} in the test split: take "
            f"the lists of {SOURCE}"
        )
    sizes = class_sizes(np.arange(len(support)), int(support.min()), given.ratio, False)
    if len(found) != (expected := int(sizes.sum()) - WITHOUT.get(given.name, 0)):
        raise DataError(
            f"{_line(given, len(found) - 1)} is the last of {len(found):,} images, and ratio {given.ratio} has {expected:,}: "
            f"the list is cut or has been changed; get it again from {SOURCE}"
        )
    return np.sort(found)


def _line(given: _Given, row: int) -> str:
    """Returns the place and the name of a list's image, for the begin of a sentence."""
    content = given.images.file.read_bytes().split(b"\n")
    number = next(islice((n for n, line in enumerate(content, 1) if line.strip()), row, None))
    return f"{given.images.file}, line {number:,}: {given.images.paths[row]}"
