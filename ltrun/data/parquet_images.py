"""Parquet files of encoded images and labels, as hubs of data sets store them."""

# No `from __future__ import annotations`: `bind` reads the annotations of inherited fields here.
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.data.columns import needed
from ltrun.data.duplicates import tell_copies
from ltrun.data.files import Files, Rows
from ltrun.data.images import shown
from ltrun.data.labels import Column, classes_of, read_names
from ltrun.data.listed import Found, Listed
from ltrun.data.missing import leave_out
from ltrun.data.packed import Packed, Part, unpacked
from ltrun.data.parquet import opened
from ltrun.data.photos import NamedPhotos
from ltrun.data.shards import class_names, shards_of
from ltrun.data.stamps import Stamps
from ltrun.data.table_file import text_of
from ltrun.errors import DataError

UNLABELLED = ("", "-1")

log = logging.getLogger(__name__)


@dataclass(eq=False)
class ParquetImages(NamedPhotos):
    """Encoded images and labels in the Parquet files of root, of root/data or of one folder in root.

    Files are named like their split: train-00000-of-00002.parquet, test-*, validation-*; a split without labels is left out.
    image, label: names of the columns; None: the columns that are called like that. The image column holds encoded images, or
    {bytes, path}, whose path is never followed. Labels are numbers, or names. names: a text file, relative to root, with one
    class name a line, whose numbers from 0 on the labels are; None: the names in the metadata of the files, else the labels
    that occur. `missing` counts rows without an image. The images are unpacked to the cache once.
    """

    image: str | None = None
    label: str | None = None
    names: str | None = None

    def find(self) -> Found:
        root = self.folder
        shards = shards_of(root)
        image, label, known = self._columns(shards["train"][0])
        labelled = {split: _cells(files, label) for split, files in shards.items()}
        for split in [split for split in shards if split != "train" and set(labelled[split]) <= set(UNLABELLED)]:
            log.warning("%s: the %s split has no labels, so it is left out", shown(root), split)
            del shards[split]
        if "test" not in shards and "val" in shards:
            shards["test"] = shards.pop("val")
            labelled["test"] = labelled.pop("val")
        self.refuse_ineffective({split: shown(some[0]) for split, some in shards.items()})
        files = [file for some in shards.values() for file in some]
        for file in files:
            with opened(file) as parquet:
                _refuse_without_images(file, parquet.schema_arrow, image)
        stamps = Stamps.of(files, root)
        packed = unpacked(files, image, stamps)
        splits = np.concatenate([np.full(len(labelled[split]), split) for split in shards])
        rows = self._present(packed, root, image)
        cells = [cell for split in shards for cell in labelled[split]]
        column = Column(shown(root), label, lambda row: packed.shown(int(rows[row])))
        splits = splits[rows]
        labels, names = classes_of([cells[row] for row in rows.tolist()], splits == "train", known, column)
        tell_copies(packed.digests[rows], labels, splits, shown(root), lambda row: packed.shown(int(rows[row])))
        listed = {
            split: _listed(root, packed, rows[splits == split], labels[splits == split], split, stamps) for split in shards
        }
        return Found(listed, names)

    def _columns(self, file: Path) -> tuple[str, str, tuple[str, ...]]:
        """Returns the columns of images and labels, and the names of the classes, if known."""
        with opened(file) as parquet:
            schema = parquet.schema_arrow
        image = needed("image", schema.names, self.image, shown(file))
        label = needed("label", schema.names, self.label, shown(file))
        _refuse_without_images(file, schema, image)
        if self.names is not None:
            return image, label, read_names(self.folder / self.names)
        return image, label, class_names(schema.metadata, label)

    def _present(self, packed: Packed, root: Path, image: str) -> Rows:
        """Returns the rows that have an image."""
        present = packed.sizes > 0
        if not present.any():
            raise DataError(
                f"{shown(root)}: the column '{image}' holds no image in any row, only paths or nothing, and no path is "
                "followed: store the images themselves in it"
            )
        return leave_out(present, self.missing, shown(root), packed.shown, f"their column '{image}'")


def _refuse_without_images(file: Path, schema: Any, image: str) -> None:
    """Raises DataError for a file whose column of images is not there, or holds no encoded images."""
    import pyarrow

    if image not in schema.names:
        raise DataError(f"{shown(file)} has no column '{image}', unlike the files beside it: replace it, or move it away")
    kind = schema.field(image).type
    inner = kind.field("bytes").type if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if pyarrow.types.is_nested(inner) or "binary" not in str(inner):
        paths = ", but paths: dataset=table reads tables of paths" if "string" in str(kind) else ": give dataset.image=COLUMN"
        raise DataError(f"{shown(file)}: its column '{image}' ({kind}) holds no encoded images{paths}")


def _cells(files: Sequence[Path], column: str) -> list[str]:
    """Returns the labels of the files, one file after the other, as text; empty in a file without the column."""
    found: list[str] = []
    for file in files:
        with opened(file) as parquet:
            cells: list[Any] = [None] * parquet.metadata.num_rows
            if column in parquet.schema_arrow.names:
                cells = parquet.read(columns=[column]).column(column).to_pylist()
        found += text_of(cells, column, partial(_row, file))
    return found


def _row(file: Path, row: int) -> str:
    return f"{shown(file)}, row {row}"


def _listed(root: Path, packed: Packed, rows: Rows, labels: NDArray[np.int64], split: str, stamps: Stamps) -> Listed:
    names = packed.names[rows]
    if names.astype(bool).all():
        files = Files.of(split.encode() + b"/" + name for name in names.tolist())
    else:
        files = Files.numbered(split, len(rows))
    return Listed(root, Part(packed, rows), labels, files.holding(packed.sizes[rows]), stamps)
