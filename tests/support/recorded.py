"""Synthetic records of runs, for tests of tables, statistics and figures."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from ltrun.metrics import GROUPS, SINGLE_LABEL, TASKS, Shots
from ltrun.results.address import fingerprint
from ltrun.results.record import RunRecord

COUNTS = [500, 300, 120, 100, 60, 20, 19, 5]  # three many, three medium, two few
DECLARED = {key: metric for metric in TASKS[SINGLE_LABEL] for key in metric.columns}  # keys in a record, groups included


def metrics(rng: random.Random, counts: list[int] = COUNTS, lift: float = 0.0, spread: float | None = None) -> dict[str, Any]:
    """Returns consistent metrics, as on a balanced test split."""
    falling = [0.75 - 0.5 * i / len(counts) for i in range(len(counts))]
    drawn = [rng.uniform(0.2, 0.8) if spread is None else rng.gauss(mean, spread) for mean in falling]
    each = [min(1.0, max(0.0, value + lift)) for value in drawn]
    groups = {name: [a for a, n in zip(each, counts, strict=True) if Shots().group(n) == name] for name in GROUPS}
    accuracy = sum(each) / len(each)
    return {
        "accuracy": accuracy,
        "error": 1 - accuracy,
        "macro": accuracy,
        **{name: sum(group) / len(group) if group else None for name, group in groups.items()},
        "ece": rng.uniform(0, 0.3),
        "per_class": each,
        "images": 100 * len(counts),
    }


def record(
    method: str = "erm",
    seed: int = 0,
    *,
    dataset: str = "cifar100_lt",
    changes: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    predictors: dict[str, list[str]] | None = None,
    headline: str = "plain",
    counts: list[int] | None = None,
    margin: str = "none",
    splits: tuple[str, ...] = ("test",),
    numbers: int = 0,
    lift: float = 0.0,
    spread: float | None = None,
    date: str = "2024-01-01T00:00:00+00:00",
    data: Mapping[str, Any] | None = None,
) -> RunRecord:
    """predictors: name -> the splits that it sees. numbers: another value gives other metrics for the same run.

    lift: added to the accuracy of every class. spread: standard deviation of a class over seeds around a mean that falls with
    the rank of the class; None draws accuracies uniformly.
    """
    counts = counts or COUNTS
    whole = {"seed": seed, "optimizer": {"lr": 0.1}, "slots": [method, margin, dataset, changes or {}], **(config or {})}
    rng = random.Random(f"{method} {dataset} {changes} {config} {seed} {numbers}")
    return RunRecord(
        dataset=dataset,
        method=method,
        changes=changes or {},
        choices={"method": method, "dataset": dataset, "margin": margin, "reweighting": "none"},
        config=whole,
        seed=seed,
        fingerprint=fingerprint(whole),
        headline=headline,
        selection="last",
        predictors={
            name: {"sees": sees, "splits": {split: metrics(rng, counts, lift, spread) for split in splits}}
            for name, sees in (predictors or {"plain": []}).items()
        },
        classes={"names": [f"class {i}" for i in range(len(counts))], "counts": counts},
        stages=[{"name": "joint", "epochs": 3, "seconds": 1.5}],
        provenance={"date": date},
        data=data or {},
    )
