"""What the GPU check writes of the records of levers, lanes and ranks, complete or cut short; and their tables."""

import json
from pathlib import Path
from typing import Any

import pytest
import table
from gpu import collect
from gpu.ranks import RUNS, good, of_ranks, reason

ROW = {
    "ms": 3.0,
    "reference_ms": 4.0,
    "ratio": 0.75,
    "quartiles": [0.74, 0.76],
    "distance": 0.5,
    "loss": 0.0,
    "verdict": "faster",
}
LEVERS = {
    "bf16": {
        "control": ROW | {"ratio": 1.0, "quartiles": [0.99, 1.01]},
        "noise": 0.01,
        "alone": {
            "a": ROW | {"kernels": 400.5, "busy_us": 2900.0},
            "b": {"error": "E: a | b\nsecond line", "verdict": "failed"},
        },
        "kept": ["a", "c"],
        "tried": [ROW | {"ways": ["a", "c"]}],
        "together": ROW | {"ms": 2.0, "ratio": 0.5},
    }
}
LANES = {
    "bf16 NHWC": {"1": {"images_per_second": 1000.0, "peak_MiB": 90.0}, "4": {"images_per_second": 1500.0, "peak_MiB": 300.0}}
}


def record(benchmark: str, complete: bool = True, **results: Any) -> dict[str, Any]:
    versions, settings = {"torch": "2.11.0"}, {"precision": "fp32", "compile": "auto", "smoke": False}
    told = {"device": "A GPU", "cpu": "A CPU", "threads": 1, "date": "2026-11-26", "versions": versions, "settings": settings}
    return told | {"benchmark": benchmark, "complete": complete, "times": {}, "results": results}


def collected(tmp_path: Path, *records: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    found, out = tmp_path / "work" / "found", tmp_path / "out"
    found.mkdir(parents=True)
    out.mkdir()
    (found / "steps.jsonl").write_text(json.dumps({"step": "levers", "code": 124, "seconds": 170, "limit": 170}) + "\n")
    for one in records:
        (found / f"{one['benchmark']}.json").write_text(json.dumps(one))
    assert collect.main([str(tmp_path / "work"), str(out)]) == 0
    return (out / "summary.md").read_text(), json.loads((out / "bench.json").read_text())


def test_the_summary_says_what_to_switch_on_also_of_records_cut_short(tmp_path: Path) -> None:
    lanes = record("lanes", lanes=LANES, advice=["runtime.pack=auto on this GPU should become 4"])
    summary, bench = collected(tmp_path, record("levers", False, precisions=LEVERS, advice=["bf16: switch on a"]), lanes)
    assert "## What to switch on\n\n* bf16: switch on a\n* runtime.pack=auto on this GPU should become 4\n" in summary
    assert "| a | 3.000 | 0.750 (0.740 to 0.760) | 0.50 | 400 | 2900 | faster |" in summary
    assert {one["benchmark"] for one in bench["records"]} == {"levers", "lanes"}


def test_the_summary_says_which_times_other_programs_disturbed_and_what_its_columns_mean(tmp_path: Path) -> None:
    levers = record("levers", precisions=LEVERS, advice=["bf16: switch on a"])
    levers["times"] = {"x": {"disturbed": 3, "repeats": [0, 0, 0]}, "y": {"disturbed": 2, "repeats": [0, 0, 0]}}
    summary, _ = collected(tmp_path, levers, record("lanes", lanes=LANES, advice=["stay"]))
    assert "* bf16: switch on a\n* levers: other programs disturbed every repeat of 1 of 2 measurements: measure" in summary
    assert "* stay\n" in summary and summary.count("disturbed") == 1 and "*distance*: " in summary


def test_the_summary_survives_a_record_without_results(tmp_path: Path) -> None:
    summary, _ = collected(tmp_path, record("levers", False))
    assert "What to switch on" not in summary and "Cut short: levers" in summary


def test_tables_show_every_way_with_its_verdict_or_its_error() -> None:
    lines = next(iter(table.tables([record("levers", precisions=LEVERS)])))
    assert lines[2].startswith("| A GPU, bf16: the step without levers | 3.000 | 1.000 (0.990 to 1.010) |")
    assert "| b | – | E: a / b second line | – | – | – | failed |" in lines
    assert table.measured({"error": "needs CUDA: runtime.levers: x", "verdict": "needs CUDA"}) == ["–"] * 5
    assert "| a + c | 3.000 |" in "\n".join(lines) and "| all: a + c | 2.000 | 0.500" in "\n".join(lines)
    assert len({line.count("|") for line in lines}) == 1
    lines = next(iter(table.tables([record("lanes", lanes=LANES | {"tf32 NHWC": {"1": {"error": "hung"}}})])))
    assert "| A GPU, bf16 NHWC: 4 at once | 1500 | 1.50 | 300 MiB |" in lines
    assert "| A GPU, tf32 NHWC: 1 at once | hung | – | – |" in lines
    lines = next(iter(table.tables([record("ranks", ranks={"erm, 2 ranks": {"losses": [1.5, 1.25]}, "x": {"error": "died"}})])))
    assert lines[2:] == ["| A GPU, erm, 2 ranks | 1.5000, 1.2500 |", "| A GPU, x | died |"]


def test_ranks_have_the_losses_of_one_process_or_are_named() -> None:
    one: dict[str, Any] = {"losses": [2.0, 1.0]}
    found: dict[str, dict[str, Any]] = {
        "erm, one process": one,
        "erm, 2 ranks, sync_bn": {"losses": [2.001, 1.0]},
        "erm, 2 ranks": {"losses": [2.1, 1.05]},  # a rank's own statistics
        "erm, a world of one": {"losses": [2.1, 1.0]},
        "paco, one process": one,
        "paco, 2 ranks, sync_bn": {"error": "exit code 1: RuntimeError: x"},
    }
    assert of_ranks(found) == [
        "erm, 2 ranks, sync_bn: the losses of one process, 0.05% apart at most",
        "erm, 2 ranks: near the losses of one process, 5.00% apart at most",
        "erm, a world of one: OTHER losses than one process, 5.00% apart at most",
        "paco, 2 ranks, sync_bn: failed: exit code 1: RuntimeError: x",
    ]
    assert [name for name in RUNS if not good(name, found)] == ["erm, a world of one", "paco, 2 ranks, sync_bn"]
    assert not good("erm, 2 ranks", {"erm, one process": one, "erm, 2 ranks": {"losses": [2.0]}})  # an epoch is missing


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "x\n  ValueError: a\ntorch.distributed.elastic.multiprocessing.errors.ChildFailedError:\nCause: an Error",
            "ValueError: a",
        ),
        ("ltrun: interrupted\nltrun: there is no key\nltrun: later\nRuntimeError: later", "ltrun: there is no key"),
        ("killed", "no error is named"),
    ],
)
def test_the_reason_of_a_failed_rank_is_its_own_error(output: str, expected: str) -> None:
    assert reason(output) == expected
