"""Tables of images: a row for each image, with its file, its label and perhaps its split."""

# No `from __future__ import annotations`: `bind` reads the annotations of inherited fields here.
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.cache import Arrays, cached
from ltrun.data.columns import column, needed
from ltrun.data.containers import OnDisk
from ltrun.data.duplicates import digests_of_alike, first_of_each, tell_copies
from ltrun.data.files import Digests, Files, Rows
from ltrun.data.images import shown
from ltrun.data.label_arrays import LabelArray
from ltrun.data.label_cells import SEPARATOR, check_separator, sets_of, tell_several
from ltrun.data.labels import Column, classes_of, read_names
from ltrun.data.layout import TITLES, splits_meant
from ltrun.data.listed import Found, Listed
from ltrun.data.missing import leave_out
from ltrun.data.named_files import NamedFiles, find_files
from ltrun.data.photos import NamedPhotos
from ltrun.data.stamps import Stamps
from ltrun.data.table_file import KINDS, TableFile, read_table, text_of
from ltrun.errors import ConfigError, DataError, did_you_mean
from ltrun.metrics import BOTH, MULTI_LABEL

log = logging.getLogger(__name__)


@dataclass(eq=False)
class ImageTable(NamedPhotos):
    """Images that a table lists: a CSV, TSV, JSON lines or Parquet file with a row for each image.

    file: the table, relative to root; None: the only table in root. image, label, split: names of its columns; None: the
    columns that are called like that. Paths are relative to root or, if more of them are found there, to the folder of the
    table; no image outside root is read. Labels are names, or numbers; without `names` the classes are the labels that occur,
    sorted, numerically where all are numbers. names: a text file, relative to root, with one class name a line, whose numbers
    from 0 on the labels may be. Without a column for splits, test_fraction of each class is held out. An image that a split
    repeats counts once; an image in two splits is refused.

    With task multi_label a cell holds any number of labels, `a;b` or a list. separator: between them. unlabelled: whether an
    empty cell means an image without labels; else it is refused, while an empty list is an image without labels.
    """

    file: str | None = None
    image: str | None = None
    label: str | None = None
    split: str | None = None
    names: str | None = None
    separator: str = SEPARATOR
    unlabelled: bool = False

    tasks = BOTH

    def __post_init__(self) -> None:
        super().__post_init__()
        check_separator(self.separator)
        if self.task != MULTI_LABEL and (self.separator != SEPARATOR or self.unlabelled):
            key = "unlabelled" if self.unlabelled else "separator"
            raise ConfigError(f"{key} is for images of several labels: remove it, or give dataset.task=multi_label")

    def find(self) -> Found:
        root = self.folder
        table = read_table(self._file(root))
        of = shown(table.path)
        image = needed("image", table.names, self.image, of)
        label = needed("label", table.names, self.label, of)
        files = self._files(root, table, image)
        rows = leave_out(files.present, self.missing, of, lambda row: files.paths[row], shown(root))

        def at(row: int) -> str:
            return table.at(int(rows[row]))

        splits = self._splits(table)
        self.refuse_ineffective(dict.fromkeys(set(splits.tolist()), f"a part of {of}"))
        splits = splits[rows]
        labels, names = self._labels(table, label, rows, splits == "train", Column(of, label, at))
        paths = [files.paths[row] for row in rows.tolist()]
        kept = first_of_each(paths, labels, splits, of, at)
        paths, labels, splits = [paths[row] for row in kept.tolist()], labels[kept], splits[kept]
        whole = [root / path for path in paths]
        stamps = Stamps.of(whole, root)
        tell_copies(_digests(whole, stamps), labels, splits, of, lambda row: shown(paths[row]))

        def listed(split: str) -> Listed:
            some = np.flatnonzero(splits == split)
            own = stamps.take(some)
            files = Files(own.names).holding(own.sizes, times=own.times)
            return Listed(root, OnDisk([whole[row] for row in some.tolist()]), labels[some], files, own)

        return Found({split: listed(split) for split in TITLES if split in splits}, names)

    def _file(self, root: Path) -> Path:
        """Returns the table's path. Raises DataError if it is not given and not the only one, or given and not there."""
        if not root.is_dir():
            raise DataError(f"{shown(root)} is not a folder: give dataset.root=FOLDER, the folder of the images")
        inside = sorted(path.name for path in root.iterdir() if path.suffix.lower() in KINDS and path.is_file())
        if self.file is None:
            if len(inside) != 1:
                found = (
                    f"holds {len(inside)} tables, {', '.join(inside[:5])}" if inside else f"holds no table ({', '.join(KINDS)})"
                )
                raise DataError(f"{shown(root)} {found}: give one as dataset.file=FILE, relative to dataset.root")
            return root / inside[0]
        if not (path := root / self.file).is_file():
            if (here := Path(self.file)).is_file():
                way_out = f"dataset.file is relative to dataset.root: give dataset.file={shown(here.resolve())}"
            else:
                way_out = f"give dataset.file=FILE, relative to dataset.root{did_you_mean(self.file, inside)}"
            raise ConfigError(f"{shown(path)} is not a file: {way_out}")
        return path

    def _files(self, root: Path, table: TableFile, image: str) -> NamedFiles:
        """Returns the files that the rows name, relative to the root or to the folder of the table, whichever has more."""

        def error(row: int, said: str) -> DataError:
            return DataError(f"{shown(table.path)}, {table.at(row)}: {said}")

        cells, top, beside = table.text(image), root.resolve(), table.path.parent.resolve()
        files = find_files(root, "", cells, error)
        if not files.present.all() and beside != top and beside.is_relative_to(top):
            near = find_files(root, f"{beside.relative_to(top).as_posix()}/", cells, error)
            if near.present.sum() > files.present.sum():
                log.info("the paths in %s are taken relative to its folder, %s", shown(table.path), shown(beside))
                files = near
        if files.outside:
            path = shown(cells[files.outside[0]])
            way_out = "write it relative to dataset.root, or give a folder that holds all images as dataset.root=FOLDER"
            raise error(files.outside[0], f"{path} lies outside {shown(root)} and is refused: {way_out}")
        return files

    def _labels(
        self, table: TableFile, label: str, rows: Rows, trained: NDArray[np.bool_], column: Column
    ) -> tuple[LabelArray, tuple[str, ...]]:
        """Returns the labels of some rows and the names of the classes. trained: whether each of them may be trained on."""
        known = read_names(self.folder / self.names) if self.names is not None else ()
        loaded = table.load(label)
        raw = [loaded[row] for row in rows.tolist()]
        if self.task == MULTI_LABEL:
            return sets_of(raw, trained, known, self.separator, self.unlabelled, column)
        tell_several(raw, column)
        cells = text_of(raw, label, lambda row: f"{column.of}, {column.at(row)}")
        return classes_of(cells, trained, known, column)

    def _splits(self, table: TableFile) -> NDArray[np.str_]:
        """Returns (N,) train, test or val; all train without a column for splits."""
        of = shown(table.path)
        name = column("split", table.names, self.split, of)
        if name is None:
            return np.full(len(table.lines), "train")
        cells = table.text(name)
        meant = splits_meant(dict.fromkeys(cells))
        if (row := next((row for row, word in enumerate(cells) if meant[word] is None), None)) is not None:
            said = f"'{shown(cells[row])}' names no split" if cells[row] else "the split is empty"
            raise DataError(f"{of}, {table.at(row)}: {said}: write train, val or test into its column '{name}'")
        if "train" not in meant.values():
            raise DataError(f"{of}: its column '{name}' has no training images: write train for images to train on")
        for word, split in meant.items():
            if split == "test" and splits_meant([word, "test"])[word] != "test":
                log.info("%s: '%s' is the test split, because there is no other", of, word)
        return np.array([meant[word] for word in cells], dtype=np.str_)


def _digests(paths: Sequence[Path], stamps: Stamps) -> Digests:
    """Returns (N, 16) digests of the images that may be copies, as `digests_of_alike` does, from the cache if it has them."""

    def make() -> Arrays:
        return {"digests": digests_of_alike(paths, stamps.sizes)}

    names = hashlib.sha256(b"\0".join(stamps.names.tolist())).hexdigest()
    return cached(make, "copies", str(stamps.place.resolve()), names, stamps=stamps)["digests"]
