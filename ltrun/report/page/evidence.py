"""What the predictions and the kept model of a run say: hits, confusion by group, reliability, norms of the classifier.

Results are kept in memory by the time of the files, so that a page that is written again reads new files alone.
"""

from __future__ import annotations

import operator
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ltrun.evaluation.calibration import Reliability, confidences, reliability
from ltrun.metrics import GROUPS, Shots
from ltrun.report.counted import counted, of_groups
from ltrun.results.address import MODEL, PREDICTIONS
from ltrun.results.predictions import Predictions, predictions_of, sigmoid
from ltrun.results.record import RunRecord
from ltrun.results.spans import spans

Key = tuple[str, int, str]


class Evidence(NamedTuple):
    """labels: (N,) uint16 of test images. hits: (N,) bool; both None for several labels per image. grouped: (3, 4) shares, as
    `Confusion.grouped` has them. bins: of confidence, or of all decisions of several labels."""

    labels: Any
    hits: Any
    grouped: np.ndarray
    bins: Reliability


_evidence: dict[Key, Evidence] = {}
_norms: dict[Key, np.ndarray | None] = {}


def evidence_of(record: RunRecord, predictor: str, shots: Shots) -> Evidence:
    """Reads the predictions of a run. Raises DataError if they are missing or damaged."""
    folder = record.path.parent if record.path else Path()
    key = _key(folder / PREDICTIONS, f"{predictor} {shots}")
    if key not in _evidence:
        kept = predictions_of(record, folder, predictor)
        _evidence[key] = _evidence_of(kept, record, shots)
    return _evidence[key]


def _evidence_of(kept: Predictions, record: RunRecord, shots: Shots) -> Evidence:
    groups = np.array([list(GROUPS).index(shots.group(count)) for count in record.classes["counts"]])
    grouped = of_groups(counted(kept.labels, kept.predicted, len(groups)), groups)
    if kept.several:
        return Evidence(None, None, grouped, _of_decisions(kept))
    confidence, hits = confidences(kept.labels, kept.scores)
    return Evidence(kept.labels.astype(np.uint16), hits, grouped, reliability(confidence, hits))


def _of_decisions(kept: Predictions) -> Reliability:
    """Returns the bins of all decisions, image by image and class by class, by the sigmoid of the score."""
    parts = []
    for some in spans(kept.scores.shape):
        parts.append(reliability(sigmoid(kept.scores[some]).ravel(), kept.labels[some].ravel()))
    return reduce(operator.add, parts)


def norms_of(record: RunRecord) -> np.ndarray | None:
    """Returns the (C,) norms of the classifier's weights, the mean over the heads of an ensemble; None if the run kept no
    model, or has no weights for each class. Raises DataError for a damaged file."""
    folder = record.path.parent if record.path else Path()
    if record.path is None or not (folder / MODEL).is_file():
        return None
    key = _key(folder / MODEL, "")
    if key not in _norms:
        _norms[key] = _norms_in(folder, record)
    return _norms[key]


def _norms_in(folder: Path, record: RunRecord) -> np.ndarray | None:
    from ltrun.results.model import Trained

    trained = Trained.load(folder, record)
    classes = len(record.classes["names"])
    heads = [
        tensor if len(tensor) == classes else tensor.T  # a linear head has (classes, features), a cosine head the reverse
        for name, tensor in (trained.network if trained else {}).items()
        if tensor.ndim == 2 and classes in tensor.shape and "head" in name and name.endswith("weight")
    ]
    if not heads:
        return None
    return np.asarray(sum(tensor.double().norm(dim=1) for tensor in heads) / len(heads))


def _key(path: Path, more: str) -> Key:
    try:
        return str(path), path.stat().st_mtime_ns, more
    except OSError:
        return str(path), 0, more
