"""Synthetic runs with predictions and the records that measure them, of one or several labels per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltrun.metrics import MULTI_LABEL, SINGLE_LABEL, Shots
from ltrun.results.address import address
from ltrun.results.history import save_arrays
from ltrun.results.open_images import Guesses, OpenImages
from ltrun.results.record import Classes, Predictor, RunRecord
from ltrun.tasks.base import Metrics
from ltrun.tasks.multi_label import MultiLabel
from ltrun.tasks.single_label import measure
from ltrun.types import ClassStats, MultiHot
from tests.support.recorded import record


def scores_of(labels: NDArray[np.int64], classes: int, seed: int = 0, lift: float = 1.0) -> NDArray[np.float32]:
    """Returns (N, C) noise, higher by `lift` at the label."""
    scores = np.random.default_rng(seed).normal(size=(len(labels), classes)).astype(np.float32)
    scores[np.arange(len(labels)), labels] += lift
    return scores


def several_labels(rows: int, classes: int, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Returns (N, C) labels, rarer for later classes, and scores that are higher at labels."""
    drawn = np.random.default_rng(seed)
    labels = drawn.random((rows, classes)) < np.linspace(0.6, 0.1, classes)
    return labels, (drawn.normal(size=labels.shape) + np.where(labels, 1, -1)).astype(np.float32)


def of_several(scores: Tensor, labels: Tensor, stats: ClassStats, many: int = Shots.many, few: int = Shots.few) -> Metrics:
    """Computes the metrics of all rows at once. scores, labels: (N, C)."""
    meter = MultiLabel().meter(stats, many, few)
    meter.update(scores, MultiHot(labels))
    return meter.compute()


def save_run(
    outputs: Path,
    labels: NDArray[Any],
    scores: Mapping[str, NDArray[np.float32]],
    counts: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    files: Sequence[str] | None = None,
    config: dict[str, Any] | None = None,
    method: str = "erm",
    seed: int = 0,
    dataset: str = "cifar100_lt",
    data: Mapping[str, Any] | None = None,
) -> Path:
    """Writes result.json and predictions.npz of a run. Returns its folder.

    labels: (N,) classes, or (N, C) bool. counts: training images per class.
    """
    predictors: dict[str, list[str]] = {name: [] for name in scores}
    plan = record(method, seed, dataset=dataset, counts=list(counts), predictors=predictors, config=config, data=data)
    several, stats = labels.ndim == 2, ClassStats(torch.tensor(counts))
    found: dict[str, Predictor] = {
        name: {
            "sees": [],
            "splits": {"test": (of_several if several else measure)(torch.from_numpy(each), torch.from_numpy(labels), stats)},
        }
        for name, each in scores.items()
    }
    classes: Classes = {"names": list(names or plan.classes["names"]), "counts": list(counts)}
    done = replace(plan, predictors=found, classes=classes, task=MULTI_LABEL if several else SINGLE_LABEL)
    folder = address(outputs, done.dataset, done.method, done.fingerprint, seed)
    arrays = {f"test_scores_{name}": each for name, each in scores.items()}
    named = {} if files is None else {"test_files": np.array(files)}
    RunRecord.load(done.save(folder))
    save_arrays(folder / "predictions.npz", test_labels=labels, **named, **arrays)
    return folder


def save_open(folder: Path, images: int, digest: str = "d") -> Path:
    """Writes open.npz beside the result of a run: uniform probabilities of so many images, the same for all rows."""
    done = RunRecord.load(folder / "result.json")
    shares = np.random.default_rng(4).random(images)
    row = Guesses(np.zeros(images, np.int64), shares, digest)
    return OpenImages(digest, 0, dict.fromkeys(done.without_experts().predictors, row)).save(folder, done)
