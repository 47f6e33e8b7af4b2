"""Cells and folder names that hold several labels: `a;b`, lists of Parquet files and JSON lines, and lists as text."""

from __future__ import annotations

import ast
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.data.label_arrays import hot_of
from ltrun.data.labels import Column, classes_of
from ltrun.data.table_file import text_of
from ltrun.errors import ConfigError, DataError

SEPARATOR = ";"

log = logging.getLogger(__name__)


def check_separator(separator: str) -> None:
    """Raises ConfigError for a separator that would not separate labels."""
    if not separator.strip() or separator.strip().isalnum():
        raise ConfigError(f"separator must be a character that no label holds, such as ';' or '|', got {separator!r}")


def parts_of(cell: str, separator: str) -> list[str]:
    """Returns the labels of a text, without blanks around them, each as often as it is there; empty ones do not count."""
    text = cell.strip()
    if text.startswith("[") and text.endswith("]"):  # a list that a program wrote as text
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [text]
        return [str(label).strip() for label in found if str(label).strip()]
    return [label for part in text.split(separator) if (label := part.strip())]


def sets_of(
    cells: Sequence[Any], trained: NDArray[np.bool_], known: Sequence[str], separator: str, unlabelled: bool, column: Column
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Returns (N, C) labels and the names of the C classes that have images, in label order, as `classes_of` does.

    cells: N cells: texts with a separator between labels, or lists. trained: (N,) whether a row may be trained on. unlabelled:
    whether an empty cell means an image without labels; an empty list always does. Raises DataError, for one for an empty cell.
    """
    found = [_labels(cell, row, separator, column) for row, cell in enumerate(cells)]
    if not unlabelled and (empty := [row for row, cell in enumerate(cells) if not found[row] and not _is_list(cell)]):
        more = f", as in {len(empty) - 1:,} more" if len(empty) > 1 else ""
        raise column.error(
            empty[0],
            f"the cell of '{column.name}' is empty{more}: fill it in, or remove the row; if it means an image without labels, "
            "give dataset.unlabelled=true",
        )
    if not any(found):
        raise DataError(f"{column.of}: no row has a label in '{column.name}': fill it in")
    rows = np.repeat(np.arange(len(found)), [len(labels) for labels in found])
    flat = Column(column.of, column.name, lambda place: column.at(int(rows[place])))
    labels, names = classes_of([label for some in found for label in some], trained[rows], known, flat)
    sets = [some.tolist() for some in np.split(labels, np.cumsum([len(some) for some in found])[:-1])]
    if twice := [row for row, some in enumerate(sets) if len(set(some)) < len(some)]:
        log.info("%s: %d rows repeat a label, such as %s: it counts once", column.of, len(twice), column.at(twice[0]))
    return hot_of(sets, len(names)), names


def tell_several(cells: Sequence[Any], column: Column) -> None:
    """Warns of labels of images of one label that look like several. Raises DataError for a list."""
    for row, cell in enumerate(cells):
        if isinstance(cell, list):
            said = f"'{column.name}' is a list, not one label: give dataset.task=multi_label if images have several labels"
            raise column.error(row, said)
        if not isinstance(cell, str):
            continue
        if (SEPARATOR in cell or cell.startswith("[")) and len(parts_of(cell, SEPARATOR)) > 1:
            log.warning(
                "%s, %s: '%s' is one class here; if it means several labels, give dataset.task=multi_label",
                column.of, column.at(row), cell,
            )  # fmt: skip
            return


def _is_list(cell: object) -> bool:
    return isinstance(cell, (list, tuple)) or (isinstance(cell, str) and cell.strip() == "[]")


def _labels(cell: Any, row: int, separator: str, column: Column) -> list[str]:
    """Returns the labels in a cell."""
    if isinstance(cell, str):
        return parts_of(cell, separator)
    given = cell if isinstance(cell, (list, tuple)) else [cell]
    return [label for label in text_of(given, column.name, lambda _: f"{column.of}, {column.at(row)}") if label]
