"""Reader of predictions.npz: labels, scores and file names of the test images of a run. Needs no torch."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from ltrun.errors import DataError
from ltrun.metrics import MULTI_LABEL
from ltrun.results.address import PREDICTIONS
from ltrun.results.record import RunRecord
from ltrun.results.schema import POSITIVES
from ltrun.results.spans import spans

LARGE, PIECE = 2**26, 2**20  # bytes: larger scores stay in the file, which is checked piece by piece
DAMAGED = (
    OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of one predictor, a row for each of the N test images.

    labels: (N,) int64, one class per image; or (N, C) bool, whether an image has each class, if it may have several. scores:
    (N, C), higher is likelier; large ones are a view of the file. files: (N,) names of images; None if the run kept none.
    """

    labels: NDArray[Any]
    scores: NDArray[np.float32]
    files: NDArray[np.str_] | None

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    def name(self, row: int) -> str | None:
        return None if self.files is None else str(self.files[row])

    @cached_property
    def predicted(self) -> NDArray[Any]:
        """(N,) classes with the highest score; for several labels (N, C) bool, whether a class has a score above 0."""
        pieces = (self.scores[some] for some in spans(self.scores.shape))  # of all, NumPy would copy the file
        return np.concatenate([piece > 0 if self.several else piece.argmax(1) for piece in pieces])

    def probabilities(self, rows: Integers, classes: Integers) -> NDArray[np.float64]:
        """Returns (R,) the softmax of the scores of each row, at the class of that row; for several labels the sigmoid of the
        score. rows, classes: (R,)."""
        if self.several:
            return sigmoid(self.scores[rows, classes])
        found = np.empty(len(rows))
        for some in spans((len(rows), self.scores.shape[1])):
            scores = self.scores[rows[some]].astype(np.float64)
            powers = np.exp(scores - scores.max(1, keepdims=True))
            found[some] = powers[np.arange(len(powers)), classes[some]] / powers.sum(1)
        return found


def sigmoid(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the probabilities of scores, each by itself."""
    return np.asarray((1 + np.tanh(scores.astype(np.float64) / 2)) / 2)


def predictions_of(record: RunRecord, folder: Path, predictor: str) -> Predictions:
    """Returns the predictions that a predictor of a run made of the test images. folder: the folder of the result.

    Raises ConfigError for a predictor that the run does not have, and DataError if the file is missing, damaged or of another
    result.
    """
    record.check_predictor(predictor)
    path = folder / PREDICTIONS
    again = "copy it from the machine that trained the run, or train the run again with force=true"
    if not path.is_file():
        raise DataError(f"{path} is missing, although a run writes it beside its result: {again}")
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            labels, scores = arrays["test_labels"], _scores(path, arrays, f"test_scores_{predictor}")
            files = arrays.get("test_files")
    except DAMAGED as error:
        raise DataError(f"{path} cannot be read ({error}): {again}") from None
    several = record.task == MULTI_LABEL
    if not _whole(labels, scores, files, len(record.classes["names"]), several):
        raise DataError(f"{path} is damaged or not from a run: {again}")
    read = Predictions(labels.astype(bool if several else np.int64), scores, files)
    if not _belongs(read, record.predictors[predictor]["splits"].get("test")):
        raise DataError(f"{path} does not belong to the result beside it: {again}")
    return read


def _scores(path: Path, arrays: NpzFile, name: str) -> NDArray[Any]:
    """Returns an array of the file; one that is large, and not compressed, as a view of the file, after a check of its sum."""
    info = arrays.zip.getinfo(f"{name}.npy")  # type: ignore[union-attr]
    if info.file_size <= LARGE or info.compress_type != zipfile.ZIP_STORED:
        return np.asarray(arrays[name])
    with path.open("rb") as file, arrays.zip.open(info) as member:  # type: ignore[union-attr]
        file.seek(info.header_offset + 26)  # of the header before the array: the lengths of its name and of its extra field
        start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
        if np.lib.format.read_magic(member) != (1, 0):
            return np.asarray(arrays[name])
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(member)
        start += member.tell()
        while member.read(PIECE):  # raises BadZipFile at the end, if the sum is wrong
            pass
    if dtype.hasobject:
        raise ValueError("the scores are Python objects")
    return np.memmap(path, dtype, "r", start, shape, "F" if by_columns else "C")


def _whole(labels: NDArray[Any], scores: NDArray[Any], files: NDArray[Any] | None, classes: int, several: bool) -> bool:
    """Returns whether the arrays fit one another and the classes of the run. Excluded classes may score minus infinity."""
    kinds = labels.dtype.kind in "iub" and scores.dtype.kind == "f" and (files is None or files.dtype.kind == "U")
    if not kinds or not labels.ndim or not labels.size:
        return False
    rows = len(labels)
    shapes = labels.shape == ((rows, classes) if several else (rows,)) and scores.shape == (rows, classes)
    if not shapes or (files is not None and files.shape != (rows,)):
        return False
    return bool(labels.min() >= 0 and labels.max() < (2 if several else classes) and np.isfinite(scores.max(1)).all())


def _belongs(read: Predictions, metrics: Any) -> bool:
    """Returns whether the record has the same number of images, and of right ones of each class.

    Allows a few differences, because rounding to float32 makes ties.
    """
    if metrics is None or metrics["images"] != len(read.labels):
        return False
    each = metrics["per_class_recall" if read.several else "per_class"]
    recall = np.array([0.0 if share is None else share for share in each])
    if read.several:
        there, right = read.labels.sum(0), (read.labels & read.predicted).sum(0)
        if there.tolist() != metrics[POSITIVES]:
            return False
    else:
        there = np.bincount(read.labels, minlength=len(recall))
        right = np.bincount(read.labels[read.predicted == read.labels], minlength=len(recall))
    return bool(np.abs(right - recall * there).sum() <= max(1.5, len(read.labels) / 1000))
