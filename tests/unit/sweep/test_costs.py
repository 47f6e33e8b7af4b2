"""What runs take, by records of the same machine and by the epochs of interrupted runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ltrun.machine import processor
from ltrun.results.folder import locked
from ltrun.sweep.costs import Costs, progress
from tests.support.recorded import record


def job(root: Path, seed: int, fingerprint: str = "01234567", epochs: int = 10) -> Any:
    return SimpleNamespace(folder=root / "erm" / fingerprint / f"seed{seed}", settings=SimpleNamespace(epochs=epochs))


def keep(one: Any, seconds_per_epoch: float, **facts: Any) -> None:
    """Writes the record of a run of ten epochs."""
    cost = {"processor": processor(), "device": "cpu", "at_once": 2, "seconds_per_epoch": seconds_per_epoch}
    times = {"started": "2026-01-01T00:00:00Z", "date": "2026-01-01T00:00:30+00:00"}
    stages: Any = [{"name": "train", "epochs": 10, "seconds": 1.0}]
    replace(record(config={"epochs": 10, "slots": []}), stages=stages, provenance=cost | times | facts).save(one.folder)


def test_other_seeds_and_other_lengths_of_a_method_are_known_by_its_records(tmp_path: Path) -> None:
    first, longer, other = job(tmp_path, 0), job(tmp_path, 0, "89abcdef", 40), job(tmp_path / "x", 0)
    keep(first, 7.0)
    costs = Costs([first, longer, other], 2, on_cpu=True)
    assert [costs.left(one) for one in (job(tmp_path, 1), longer, other)] == [70, 280, None]


@pytest.mark.parametrize("facts", [{"processor": "another"}, {"device": "a GPU"}, {"at_once": None, "date": "never"}])
def test_records_of_other_machines_and_without_a_cost_do_not_count(facts: dict[str, Any], tmp_path: Path) -> None:
    keep(job(tmp_path, 0), 7.0, **facts)
    assert Costs([job(tmp_path, 1)], 2, on_cpu=True).left(job(tmp_path, 1)) is None


def test_records_of_as_many_runs_at_once_are_preferred_and_what_follows_training_counts(tmp_path: Path) -> None:
    keep(job(tmp_path, 0), 7.0, at_once=1)
    keep(job(tmp_path, 1), 2.0)
    assert Costs([job(tmp_path, 2)], 2, on_cpu=True).left(job(tmp_path, 2)) == 30, "from its start to its record"


def test_an_interrupted_run_needs_the_rest_at_its_own_pace(tmp_path: Path) -> None:
    one = job(tmp_path, 0)
    assert progress(one.folder) is None
    with locked(one.folder, {"title": "erm", "stages": {"train": 8, "classifier": 2}}):
        rows = [{"stage": "train", "epoch": epoch, "seconds": 3.0} for epoch in (1, 2, 2)]
        (one.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"stage": ')
    assert progress(one.folder) == (0.2, 30.0)
    with (one.folder / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n[1]\n")  # bytes that are no text, and a line that is no epoch
    assert progress(one.folder) == (0.2, 30.0)
    costs = Costs([one], 1, on_cpu=True)
    assert (costs.left(one), costs.left(job(tmp_path, 1))) == (24, 30)
