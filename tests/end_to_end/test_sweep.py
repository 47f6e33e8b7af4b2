"""Sweeps and their records: finished jobs are skipped, a failed job fails alone, the table comes last."""

import json
from pathlib import Path

import pytest

from ltrun.config.job import Job
from ltrun.sweep.outcome import Outcome
from tests.support.commands import SHORT, Run


def test_a_sweep_prints_its_table_and_skips_finished_jobs(ltrun: Run, tmp_path: Path) -> None:
    command = ("-m", "method=erm,balanced_softmax", "seed=0,1", *SHORT)
    first = ltrun(*command)
    assert first.returncode == 0, first.stderr
    for shown in ("erm", "balanced_softmax", "Many", "Medium", "Few", "±"):
        assert shown in first.stdout
    results = sorted(tmp_path.rglob("result.json"))
    assert len(results) == 4
    changed = {path: path.stat().st_mtime_ns for path in results}
    results[0].unlink()
    second = ltrun(*command)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("done before") == 3
    assert [path for path in results if path.stat().st_mtime_ns != changed[path]] == results[:1]
    assert first.stdout[first.stdout.rindex("Method") :] == second.stdout[second.stdout.rindex("Method") :]


def test_a_sweep_prints_its_table_although_a_job_failed(ltrun: Run) -> None:
    done = ltrun("-m", "margin=none,ldam", "representation=paco,none", "classifier=cosine", *SHORT)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "Method" in done.stdout
    assert "margin=ldam has no effect beside representation=paco" in done.stderr
    assert "1 failed" in done.stderr


def test_force_trains_again(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    before = result.stat().st_mtime_ns
    assert "done before" in ltrun("method=erm", *SHORT).stdout
    assert result.stat().st_mtime_ns == before
    again = ltrun("method=erm", *SHORT, "force=true")
    assert again.returncode == 0
    assert result.stat().st_mtime_ns != before
    assert "train 2/3" in again.stdout, "training must not start from the checkpoint of the finished run"


def test_an_interrupted_forced_sweep_leaves_no_old_result(ltrun: Run, tmp_path: Path) -> None:
    sweep = ("-m", "method=erm", "seed=0,1,2", *SHORT, "epochs=1", "runtime.pack=1")
    assert ltrun(*sweep).returncode == 0
    with pytest.MonkeyPatch.context() as patch:

        def interrupted(job: Job) -> Outcome:
            raise KeyboardInterrupt

        patch.setattr("ltrun.sweep.jobs.train_here", interrupted)
        assert ltrun(*sweep, "force=true").returncode == 130
    assert not list(tmp_path.rglob("result.json"))
    again = ltrun(*sweep)
    assert again.returncode == 0 and "done before" not in again.stdout and again.stdout.count("train 1/1") == 3


def test_epochs_shorten_the_schedule_and_the_deferred_switch(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=ldam_drw", "dataset=digits_lt", "epochs=10").returncode == 0
    (history,) = tmp_path.rglob("metrics.jsonl")
    rates = [json.loads(line)["learning_rate"] for line in history.read_text().splitlines()]
    assert rates == [0.1] * 8 + [0.1 * 0.1, 0.1 * 0.01]


def test_options_of_any_slots_compose_without_a_preset(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("margin=ldam", "reweighting=drw", "augmentation=[cmo,mixup]", "classifier=cosine", *SHORT, "seed=1")
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.rglob("result.json")
    record = json.loads(result.read_text())
    assert record["seed"] == 1
    assert record["changes"]["margin"] == "ldam"
    assert record["changes"]["augmentation"] == "[cmo,mixup]"


def test_an_ablation_of_a_preset_is_labelled_by_what_was_changed(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("method=ldam_drw", "reweighting=none", *SHORT)
    assert done.returncode == 0, done.stderr
    assert "reweighting=none" in done.stdout
    (result,) = tmp_path.rglob("result.json")
    record = json.loads(result.read_text())
    assert record["choices"]["margin"] == "ldam"
    assert record["choices"]["reweighting"] == "none"


def test_balancing_twice_is_allowed_and_warned_about_once(ltrun: Run) -> None:
    done = ltrun("resampling=class_balanced", "logit_adjustment=balanced_softmax", *SHORT)
    assert done.returncode == 0
    assert done.stdout.count("balances the classes more than once") == 1
    assert "resampling=class_balanced and logit_adjustment=balanced_softmax" in done.stdout


def test_a_record_keeps_metrics_scores_and_versions_for_later_statistics(ltrun: Run, tmp_path: Path) -> None:
    import numpy as np
    import torch

    choices = ("posthoc=[tau_norm,ncm,logit_adjustment]", "dataset.validation_per_class=2")
    assert ltrun("method=erm", *SHORT, *choices).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    record = json.loads(result.read_text())
    assert set(record["predictors"]) == {"plain", "tau_norm", "ncm", "logit_adjustment"}
    assert set(record["predictors"]["plain"]["splits"]) == {"test", "val"}
    assert {"versions", "device", "seconds", "images_per_second", "peak_memory_bytes"} <= set(record["provenance"])
    assert {"torch", "python", "ltrun"} <= set(record["provenance"]["versions"])
    with np.load(result.parent / "predictions.npz", allow_pickle=False) as saved:
        labels = saved["test_labels"]
        for name, found in record["predictors"].items():
            accuracy = float((saved[f"test_scores_{name}"].argmax(1) == labels).mean())
            assert abs(accuracy - found["splits"]["test"]["accuracy"]) < 1e-9
    (checkpoint,) = result.parent.glob("*.pt")
    assert set(torch.load(checkpoint, weights_only=True)) >= {"stage", "epoch", "module", "optimizer"}


def test_best_val_selects_on_the_validation_split(ltrun: Run, tmp_path: Path) -> None:
    choices = ("method=erm", "dataset=digits_lt", "epochs=6", "evaluation.every=1", "dataset.validation_per_class=3")
    assert ltrun(*choices, "selection=best_val").returncode == 0
    (result,) = tmp_path.rglob("result.json")
    record = json.loads(result.read_text())
    rows = [json.loads(line) for line in (result.parent / "metrics.jsonl").read_text().splitlines()]
    best = max(row["evaluation"]["val"]["accuracy"] for row in rows)
    assert record["predictors"]["plain"]["splits"]["val"]["accuracy"] == best
    assert record["selection"] == "best_val"
