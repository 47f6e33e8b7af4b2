"""The comparison of two folders of runs: it names each difference, and ignores times and places of runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.recorded import record
from tests.support.same_results import main


def write(outputs: Path, seed: int, loss: float = 0.5, seconds: float = 1.0, scores: float = 0.0, **metrics: float) -> None:
    """Writes a run as ltrun does: record, history and scores."""
    made = record("erm", seed)
    made.predictors["plain"]["splits"]["test"] |= metrics
    made.save(outputs / str(seed))
    row = {"epoch": 1, "loss": loss, "seconds": seconds, "images_per_second": 100 / seconds}
    (outputs / str(seed) / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    np.savez(outputs / str(seed) / "predictions.npz", test_scores_plain=np.full((2, 3), scores))


def compared(before: Path, after: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([str(before), str(after)])
    return code, capsys.readouterr().out


def test_runs_that_differ_in_time_alone_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        write(tmp_path / "before", seed)
        write(tmp_path / "after" / "elsewhere", seed, seconds=2.0)
    code, said = compared(tmp_path / "before", tmp_path / "after", capsys)
    assert code == 0 and said == "2 runs before, 0 differ or are missing\n"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ece": 0.25}, "predictors"),
        ({"loss": 0.5000001}, "metrics.jsonl"),
        ({"scores": 1e-7}, "predictions.npz"),
    ],
)
def test_a_difference_in_metrics_losses_or_scores_is_named(
    change: dict[str, Any], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        write(tmp_path / "before", seed)
        write(tmp_path / "after", seed, **(change if seed == 1 else {}))
    code, said = compared(tmp_path / "before", tmp_path / "after", capsys)
    line, last = said.splitlines()
    assert code == 1 and last == "2 runs before, 1 differ or are missing"
    assert "cifar100_lt" in line and line.endswith(f" 1: {named}")


def test_a_missing_run_is_named_and_empty_folders_do_not_count_as_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        write(tmp_path / "before", seed)
    write(tmp_path / "after", 0)
    (tmp_path / "none").mkdir()
    code, said = compared(tmp_path / "before", tmp_path / "after", capsys)
    assert code == 1 and f"1: only in {tmp_path / 'before'}" in said
    assert compared(tmp_path / "none", tmp_path / "none", capsys)[0] == 1
