"""Labels as a table writes them, names or numbers: their classes, and what no label may be."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ltrun.data.class_folders import named
from ltrun.data.files import Rows
from ltrun.data.images import no_file, shown
from ltrun.errors import DataError, did_you_mean

NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
# What programs write into empty cells, and into cells whose formula failed.
VOID = re.compile(r"nan|<na>|n/a|null|#(n/a|ref!|value!|name\?|div/0!|num!|null!)", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """Where N labels come from, for sentences. of: the table. name: its column. at: row -> `line 7`."""

    of: str
    name: str
    at: Callable[[int], str]

    def error(self, row: int, said: str) -> DataError:
        return DataError(f"{self.of}, {self.at(row)}: {said}")


def classes_of(
    cells: Sequence[str], trained: NDArray[np.bool_], known: Sequence[str], column: Column
) -> tuple[Rows, tuple[str, ...]]:
    """Returns (N,) labels and the names of the C classes that have images, in label order.

    cells: N labels, names or numbers; names are compared without blanks around them, however their accents are encoded.
    trained: (N,) whether a row may be trained on. known: the names of all classes, whose numbers the labels may be, from 0 on;
    if empty, the classes are the labels that occur, sorted, numerically where all are numbers. Raises DataError for an empty
    label, a label outside the classes, a class that no training row has, a single class, and a column of labels that all
    differ.
    """
    index: dict[str, int] = {}
    codes = np.array([index.setdefault(cell, len(index)) for cell in cells], dtype=np.int64)
    _, first = np.unique(codes, return_index=True)
    spelled = {unicodedata.normalize("NFC", cell.strip()): int(row) for cell, row in zip(index, first, strict=True)}
    if "" in spelled:
        count = int((codes == next(code for cell, code in index.items() if not cell.strip())).sum())
        more = f", as in {count - 1:,} more" if count > 1 else ""
        raise column.error(spelled[""], f"the label '{column.name}' is empty{more}: fill it in, or remove the row")
    if odd := next((cell for cell in spelled if not cell.isprintable()), None):
        raise column.error(spelled[odd], f"the label {odd!a} cannot be printed: rename the class")
    for cell in filter(VOID.fullmatch, spelled):
        sentence = "%s, %s: the label '%s' is taken for a class: remove such rows if it stands for an empty cell"
        log.warning(sentence, column.of, column.at(spelled[cell]), cell)
    looks = [unicodedata.normalize("NFC", cell.strip()) for cell in index]
    numbers = _numbers(spelled, known, column)
    order = list(known) if known else sorted(spelled, key=lambda cell: (numbers[cell], cell) if numbers else (0, cell))
    place = _places(spelled, order, numbers if known else None, column)
    labels = np.array([place[look] for look in looks], dtype=np.int64)[codes]
    if numbers and not known:  # 1, 01 and 1.0 are one class
        values, labels = np.unique(np.array([numbers[look] for look in looks])[codes], return_inverse=True)
        order = [str(value) for value in values.tolist()]
    return _checked(labels, trained, order, column)


def read_names(path: Path) -> tuple[str, ...]:
    """Returns the class names in a text file, one a line in label order. Raises DataError."""
    way_out = "give a file with one class name a line as dataset.names=FILE"
    if reason := no_file(path):
        raise DataError(f"{shown(path)} {reason}: {way_out}")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read ({error.strerror or error}): {way_out}") from None
    except UnicodeDecodeError:
        raise DataError(f"{shown(path)} is not encoded as UTF-8: save it as UTF-8, with one class name a line") from None
    names = [unicodedata.normalize("NFC", line.strip()) for line in lines]
    while names and not names[-1]:
        names.pop()
    first = {name: number for number, name in reversed(list(enumerate(names)))}
    for number, name in enumerate(names):
        if not name or not name.isprintable() or first[name] < number:
            what = "is empty" if not name else "cannot be printed" if not name.isprintable() else f"names '{name}' again"
            raise DataError(f"{shown(path)}, line {number + 1}, {what}: give one class name a line, in label order")
    if len(names) < 2:
        raise DataError(f"{shown(path)} holds {len(names)} class names: give one class name a line, in label order")
    return tuple(names)


def _numbers(spelled: Mapping[str, int], known: Sequence[str], column: Column) -> dict[str, int]:
    """Returns label -> its number; empty if any label is no number, or if the names of the classes are the labels."""
    if any(not NUMBER.fullmatch(cell) for cell in spelled) or set(spelled) <= set(known):
        return {}
    numbers = {cell: int(cell.partition(".")[0]) for cell in spelled}
    least = min(spelled, key=numbers.__getitem__)
    if numbers[least] < 0:
        raise column.error(spelled[least], f"the label {least} is below 0, as for an image without a class: remove such rows")
    most = max(spelled, key=numbers.__getitem__)
    if known and numbers[most] >= len(known):
        by_one = numbers[most] == len(known) and numbers[least] == 1
        way_out = "these seem to count from 1: subtract 1" if by_one else "repair the label, or the names of the classes"
        said = f"the label {most} is outside the {len(known):,} classes, which are numbered from 0 to {len(known) - 1}"
        raise column.error(spelled[most], f"{said}: {way_out}")
    return numbers


def _places(
    spelled: Mapping[str, int], order: Sequence[str], numbers: Mapping[str, int] | None, column: Column
) -> Mapping[str, int]:
    """Returns label -> its class. numbers: label -> its class where labels are numbers of known classes."""
    if numbers:
        return numbers
    place = {unicodedata.normalize("NFC", name.strip()): label for label, name in enumerate(order)}
    if unknown := next((cell for cell in spelled if cell not in place), None):
        hint = did_you_mean(unknown, order)
        raise column.error(spelled[unknown], f"the label '{unknown}' is none of the {len(order):,} classes{hint}")
    folded: dict[str, str] = {}
    for cell in spelled:
        if (twin := folded.setdefault(cell.casefold(), cell)) != cell:
            log.warning("%s: the classes '%s' and '%s' differ only in case", column.of, twin, cell)
    return place


def _checked(labels: Rows, trained: NDArray[np.bool_], names: Sequence[str], column: Column) -> tuple[Rows, tuple[str, ...]]:
    """Returns labels and names without classes that have no image. Raises DataError for labels that no training could use."""
    counts = np.bincount(labels, minlength=len(names))
    used = np.flatnonzero(counts)
    if len(used) == len(labels) > 2:
        raise DataError(
            f"{column.of}: each row has another label in '{column.name}', so it seems to identify images: give the column of "
            "their classes as dataset.label=COLUMN"
        )
    if len(used) == 1:
        raise DataError(f"{column.of} holds a single class, '{names[used[0]]}': add images of a second class")
    if untrained := np.setdiff1d(used, labels[trained]).tolist():
        rows = np.flatnonzero(labels == untrained[0])
        said = f"the class '{names[untrained[0]]}' has no training image, but {rows.size:,} in other splits"
        raise column.error(int(rows[0]), f"{said}: add training images of it, or remove these rows")
    if len(used) < len(names):
        empty = [name for name, count in zip(names, counts, strict=True) if not count]
        log.warning("%s has no images of %s: left out, with %d classes left", column.of, named(empty), len(used))
    renumbered = np.cumsum(counts > 0) - 1
    return renumbered[labels], tuple(names[label] for label in used.tolist())
