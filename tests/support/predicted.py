"""Synthetic runs with predictions and the records that measure them, for tests of `ltrun errors` and class reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.results.address import address
from ltrun.results.history import save_arrays
from ltrun.results.record import Classes, Predictor, RunRecord
from ltrun.tasks.single_label import measure
from ltrun.types import ClassStats
from tests.support.recorded import record


def scores_of(labels: NDArray[np.int64], classes: int, seed: int = 0, lift: float = 1.0) -> NDArray[np.float32]:
    """Returns (N, C) noise, higher by `lift` at the label."""
    scores = np.random.default_rng(seed).normal(size=(len(labels), classes)).astype(np.float32)
    scores[np.arange(len(labels)), labels] += lift
    return scores


def save_run(
    outputs: Path,
    labels: NDArray[np.int64],
    scores: Mapping[str, NDArray[np.float32]],
    counts: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    files: Sequence[str] | None = None,
    config: dict[str, Any] | None = None,
    method: str = "erm",
    seed: int = 0,
) -> Path:
    """Writes result.json and predictions.npz of a run. Returns its folder. counts: training images per class."""
    plan = record(method, seed, counts=list(counts), predictors={name: [] for name in scores}, config=config)
    stats = ClassStats(torch.tensor(counts))
    found: dict[str, Predictor] = {
        name: {"sees": [], "splits": {"test": measure(torch.from_numpy(each), torch.from_numpy(labels), stats)}}
        for name, each in scores.items()
    }
    classes: Classes = {"names": list(names or plan.classes["names"]), "counts": list(counts)}
    done = replace(plan, predictors=found, classes=classes)
    folder = address(outputs, done.dataset, done.method, done.fingerprint, seed)
    arrays = {f"test_scores_{name}": each for name, each in scores.items()}
    named = {} if files is None else {"test_files": np.array(files)}
    RunRecord.load(done.save(folder))
    save_arrays(folder / "predictions.npz", test_labels=labels, **named, **arrays)
    return folder
