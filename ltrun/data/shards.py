"""Parquet files of a data set as hubs store them: which belong to which split, and the names of their classes."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ltrun.data.class_folders import HIDDEN
from ltrun.data.images import shown
from ltrun.data.layout import splits_meant
from ltrun.errors import DataError

DEPTH = 3  # folders, with the root, in which files are looked for: root/config/train/0000.parquet
NUMBER = re.compile(r"[-_.]?(?P<n>\d+)(?:-of-(?P<of>\d+))?(?:-[0-9a-f]{8,})?$")  # train-00000-of-00002-a9f0bd1d2c1c

log = logging.getLogger(__name__)


def shards_of(root: Path) -> dict[str, list[Path]]:
    """Returns split -> its Parquet files in the order of their names: train, and test and val where they exist.

    A file says its split by its name, `train-00000-of-00002.parquet`, or by its folder, `train/0000.parquet`; if none does, all
    are training images. Raises DataError for a folder without such files, without training images, with files of several data
    sets, and for a file that is missing from a numbered series.
    """
    if not root.is_dir():
        raise DataError(f"{shown(root)} is not a folder: give dataset.root=FOLDER, the folder of the Parquet files")
    files = [path for depth in range(DEPTH) for path in sorted(root.glob("*/" * depth + "*.parquet"))]
    files = [path for path in files if not any(step.startswith(HIDDEN) for step in path.relative_to(root).parts)]
    if not files:
        raise DataError(f"{shown(root)} holds no Parquet files (*.parquet): give dataset.root=FOLDER, the folder that does")
    words: dict[str, list[Path]] = defaultdict(list)
    homes = set()
    for path in files:
        word = NUMBER.sub("", path.stem)
        words[word or path.parent.name].append(path)
        homes.add(path.parent if word else path.parent.parent)
    if len(homes) > 1:
        one, other, *_ = sorted(homes)
        places = f"in {shown(one)} and {shown(other)}"
        raise DataError(f"{shown(root)} holds Parquet files of several data sets, {places}: give one as dataset.root")
    meant = splits_meant(words)
    if not any(meant.values()):
        log.info("%s: no file is named like a split, so all hold training images", shown(root))
        meant = dict.fromkeys(words, "train")
    if "train" not in meant.values():
        raise DataError(f"{shown(root)} holds {', '.join(words)} and no training images: name their files train-*.parquet")
    for word, split in meant.items():
        _refuse_gap(words[word])
        if split is None:
            log.warning("%s is left out: its name says no split", shown(words[word][0]))
        elif split == "test" and splits_meant([word, "test"])[word] != "test":
            log.info("%s: '%s' is the test split, because there is no other", shown(root), word)
    found = {
        split: [path for word in words if meant[word] == split for path in words[word]] for split in ("train", "test", "val")
    }
    return {split: paths for split, paths in found.items() if paths}


def class_names(metadata: dict[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """Returns the class names that a hub stored with a column of labels; none if it stored none."""
    try:
        node: Any = json.loads((metadata or {})[b"huggingface"])
        names = node["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _refuse_gap(paths: Sequence[Path]) -> None:
    """Raises DataError if a numbered series lacks files."""
    numbers = [NUMBER.search(path.stem) for path in paths]
    said = [(int(found["n"]), int(found["of"])) for found in numbers if found and found["of"]]
    for count in {of for _, of in said}:
        if missing := sorted(set(range(count)) - {n for n, of in said if of == count}):
            first = f"{missing[0]:05}-of-{count:05}"
            more = f", and {len(missing) - 1} more," if len(missing) > 1 else ""
            where = f"{first}{more} of the {count} files like {shown(paths[0])}"
            raise DataError(f"{where} is missing: put it there, or rename the files if you want a part of the data")
