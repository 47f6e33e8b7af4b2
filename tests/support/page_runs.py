"""A folder of made runs with predictions and curves, for tests and measurements of the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ltrun.metrics import GROUPS, Shots
from ltrun.results.address import address
from ltrun.results.history import save_arrays
from ltrun.results.record import RunRecord
from tests.support.recorded import record

EACH = 25  # test images of each class
COUNTS = [500, 300, 120, 100, 60, 20, 19, 5]


def labels_of(counts: Sequence[int], each: int = EACH) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), each)


def saved(
    root: Path,
    method: str,
    seed: int,
    lift: float = 0.0,
    counts: list[int] | None = None,
    each: int = EACH,
    epochs: int = 4,
    name: str | None = None,
    changes: dict[str, Any] | None = None,
) -> RunRecord:
    """Writes a run whose predictions are right with a probability that falls with the rank of the class; returns its record.

    lift: added to the probability. each: test images of a class. name: of the first class.
    """
    counts = counts or COUNTS
    classes, labels = len(counts), labels_of(counts, each)
    rng = np.random.default_rng([*method.encode(), seed])
    likely = np.clip(0.85 - 0.6 * labels / classes + lift, 0.02, 0.98)
    scores = rng.normal(size=(len(labels), classes)).astype(np.float32)
    right = rng.random(len(labels)) < likely
    scores[np.arange(len(labels)), labels] = np.where(right, 5.0, -5.0)
    hits = scores.argmax(1) == labels
    recall = [float(hits[labels == c].mean()) for c in range(classes)]
    groups = [Shots().group(count) for count in counts]
    means = {g: [r for r, group in zip(recall, groups, strict=True) if group == g] for g in GROUPS}
    metrics = {
        "accuracy": float(hits.mean()),
        "error": 1 - float(hits.mean()),
        "macro": float(np.mean(recall)),
        **{g: float(np.mean(found)) if found else None for g, found in means.items()},
        "ece": 0.1,
        "per_class": recall,
        "images": len(labels),
    }
    made = record(
        method, seed, counts=counts, changes=changes, config={"epochs": epochs, "network": {"depth": 8, "rates": [0.1, 0.2]}}
    )
    classes_named = {**made.classes, "names": [name or "class 0", *made.classes["names"][1:]]}
    made = replace(
        made,
        predictors={"plain": {"sees": [], "splits": {"test": metrics}}},
        classes=classes_named,  # type: ignore[arg-type]
        command=[f"method={method}", f"seed={seed}", "dataset=cifar100_lt", "outputs=/home/somebody"],
        provenance={"date": "2026-01-01T00:00:00+00:00", "commit": "0123456789abcdef", "device": "cpu", "seconds": 12.5},
    )
    folder = address(root, made.dataset, made.method, made.fingerprint, made.seed)
    save_arrays(folder / "predictions.npz", test_labels=labels, test_scores_plain=scores)
    lines = [
        {"stage": "joint", "epoch": e + 1, "loss": 2 / (e + 1), "evaluation": {"test": {"accuracy": 0.1 * (e % 9)}}}
        for e in range(epochs)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made.save(folder)
    return replace(made, path=folder / "result.json")
