"""Stored predictions of open images, whose classes a run was not trained on: open.npz, read and written without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.errors import DataError
from ltrun.results.address import OPEN
from ltrun.results.history import save_arrays
from ltrun.results.predictions import DAMAGED
from ltrun.results.record import RunRecord

Fractions = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Guesses:
    """Predictions of N open images. classes: (N,) the likeliest class of each. confidences: (N,) its probability, the largest
    of the image. digest: of the content of the images."""

    classes: Integers
    confidences: Fractions
    digest: str


@dataclass(frozen=True, eq=False)
class OpenImages:
    """The open images of a run. digest: of the content of all files, in any order. left_out: files that could not be read.

    rows: predictor -> its guesses.
    """

    digest: str
    left_out: int
    rows: Mapping[str, Guesses]

    @property
    def images(self) -> int:
        """The number of images that could be read."""
        return max(len(row.classes) for row in self.rows.values())

    def save(self, folder: Path, record: RunRecord) -> Path:
        """Writes open.npz to the folder of a run, atomically, and returns its path. Raises TrainingError."""
        arrays: dict[str, NDArray[Any]] = {"run": np.array(_mark(record)), "digest": np.array(self.digest)}
        arrays["left_out"] = np.array(self.left_out)
        for name, row in self.rows.items():
            arrays |= {f"classes_{name}": row.classes, f"confidences_{name}": row.confidences}
        save_arrays(folder / OPEN, **arrays)
        return folder / OPEN

    @classmethod
    def load(cls, folder: Path, record: RunRecord) -> OpenImages:
        """Reads the open images of a run, with the rows that are stored. folder: of its result.

        Raises DataError if there are none, and for a file that is damaged, or of another run or an earlier training of it.
        """
        path, again = folder / OPEN, store_by(folder)
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                found = dict(arrays)
            run, digest, left_out = (found[name][()] for name in ("run", "digest", "left_out"))
            rows = _rows(found, record.without_experts().predictors, str(digest))
        except FileNotFoundError:
            raise DataError(f"{folder} has no {OPEN}, which holds predictions of images of other classes: {again}") from None
        except DAMAGED as error:
            raise DataError(f"{path} cannot be read ({error}): {again}") from None
        if str(run) != _mark(record):
            raise DataError(f"{path} is of another training than the result beside it: {again}")
        if not rows or not all(_whole(row, len(record.classes["names"])) for row in rows.values()):
            raise DataError(f"{path} is damaged: {again}")
        return cls(str(digest), int(left_out), rows)


def guesses_of(record: RunRecord, folder: Path, predictor: str) -> Guesses:
    """Returns what a predictor of a run says of the run's open images. folder: of its result. Raises DataError, as `load`."""
    rows = OpenImages.load(folder, record).rows
    if predictor not in rows:
        raise DataError(f"{folder / OPEN} does not have the row '{predictor}': {store_by(folder)}")
    return rows[predictor]


def store_by(folder: Path) -> str:
    """Returns how the open images of a run are stored."""
    return f"store them by 'ltrun evaluate {folder} --open IMAGES'"


def _mark(record: RunRecord) -> str:
    """Returns a text that tells a training from all others, also from another one of the same run."""
    return f"{record.fingerprint} seed{record.seed} {record.provenance.get('date', '')}"


def _rows(found: Mapping[str, NDArray[Any]], names: Iterable[str], digest: str) -> dict[str, Guesses]:
    there = [name for name in names if f"classes_{name}" in found]
    return {name: Guesses(found[f"classes_{name}"], found[f"confidences_{name}"], digest) for name in there}


def _whole(row: Guesses, classes: int) -> bool:
    """Returns whether the arrays fit one another and the classes of the run."""
    kinds = row.classes.dtype.kind == "i" and row.confidences.dtype.kind == "f"
    if not kinds or row.classes.ndim != 1 or not row.classes.size or row.classes.shape != row.confidences.shape:
        return False
    inside = row.classes.min() >= 0 and row.classes.max() < classes
    return bool(inside and row.confidences.min() >= 0 and row.confidences.max() <= 1 + 1e-6)
