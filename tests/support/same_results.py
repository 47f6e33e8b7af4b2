"""Bit-for-bit comparison of two folders of runs: the proof that a refactor changes no result.

    ltrun -m 'method=glob(*)' dataset=digits_lt seed=0 epochs=4 outputs=before     # on the commit before
    ltrun -m 'method=glob(*)' dataset=digits_lt seed=0 epochs=4 outputs=after      # on the commit after
    python -m tests.support.same_results before after

It compares predictors with every metric, classes, stages, selection, headline, choices, changes, the losses of each epoch and
the scores in predictions.npz. It ignores addresses, paths of modules in the configuration, times and the machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SAME = ("dataset", "method", "changes", "seed", "headline", "selection", "classes")
TIMES = ("seconds", "images_per_second", "time")
Key = tuple[str, str, int]


def runs(folder: Path) -> dict[Key, tuple[Path, dict[str, Any]]]:
    """(data set, label, seed) -> folder and record of each finished run below a folder."""
    found: dict[Key, tuple[Path, dict[str, Any]]] = {}
    for file in sorted(folder.rglob("result.json")):
        record = json.loads(file.read_text())
        chosen = {slot: option for slot, option in record["choices"].items() if "@" not in slot and option != "none"}
        options = sorted(f"{slot}={option}" for slot, option in chosen.items())  # a slot that is younger has 'none'
        changes = sorted(f"{key}={value}" for key, value in record["changes"].items())
        key = (record["dataset"], " ".join([record["method"], *options, *changes]), record["seed"])
        assert key not in found, f"{file} and {found[key][0]} are one run"
        found[key] = file.parent, record
    return found


def differences(before: Path, after: Path) -> list[str]:
    """Returns a line for each run that is missing or differs, with the names of the fields that differ."""
    old, new = runs(before), runs(after)
    lines = [f"{' '.join(map(str, key))}: only in {before if key in old else after}" for key in sorted(old.keys() ^ new.keys())]
    for key in sorted(old.keys() & new.keys()):
        (folder, one), (other, two) = old[key], new[key]
        wrong = [name for name in SAME if one[name] != two[name]]
        wrong += ["predictors"] if not same_predictors(one["predictors"], two["predictors"]) else []
        wrong += ["stages"] if stages(one) != stages(two) else []
        wrong += ["metrics.jsonl"] if history(folder) != history(other) else []
        wrong += ["predictions.npz"] if not same_arrays(folder / "predictions.npz", other / "predictions.npz") else []
        if wrong:
            lines.append(f"{' '.join(map(str, key))}: {', '.join(wrong)}")
    return lines


def same_predictors(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether predictors are equal; experts count where both records have them, because older records have none."""
    shared = {name for name in one.keys() | two.keys() if not name.startswith("expert ") or name in one.keys() & two.keys()}
    return all(one.get(name) == two.get(name) for name in shared)


def stages(record: dict[str, Any]) -> list[tuple[str, int]]:
    return [(stage["name"], stage["epochs"]) for stage in record["stages"]]


def history(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def same_arrays(before: Path, after: Path) -> bool:
    """Whether `after` has every array of `before`; a later version may write more."""
    with np.load(before) as old, np.load(after) as new:
        return all(name in new and np.array_equal(old[name], new[name]) for name in old)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("same_results", description="Compares the runs of two folders, bit for bit.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    asked = parser.parse_args(argv)
    lines = differences(asked.before, asked.after)
    print("\n".join([*lines, f"{len(runs(asked.before))} runs before, {len(lines)} differ or are missing"]))
    return 1 if lines or not runs(asked.before) else 0


if __name__ == "__main__":
    raise SystemExit(main())
