"""Sweeps that end in time, runs that another command has finished, and the commands that a sweep leaves at its end."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.job import Job
from ltrun.engine.progress import Bar
from ltrun.engine.run import run
from ltrun.machine import OutOfTime
from ltrun.results.folder import locked
from ltrun.sweep.outcome import Outcome
from tests.support.commands import SHORT, Run, refused

ALONE = ("network=resnet8", "runtime.pack=1", "runtime.device=cpu")


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the process that checks the jobs of a sweep."""
    monkeypatch.setattr("ltrun.sweep.jobs.refusals", lambda jobs: {})


def test_a_sweep_stops_in_time_and_says_what_goes_on(ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []

    def cut(job: Job) -> Outcome:
        began.append(job.method)
        with locked(job.folder, {"title": job.title}):
            raise OutOfTime

    words = ("-m", "method=erm,crt", "seed=0,1", *SHORT, "epochs=1", *ALONE, "sweep.budget=8h")
    with monkeypatch.context() as patch:
        patch.setattr("ltrun.sweep.jobs.train_here", cut)
        done = ltrun(*words)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr and began == ["erm"]
    assert "sweep.budget=8h: nothing was measured yet of 4 jobs (erm, crt)" in done.stdout
    lines = done.stderr.splitlines()
    assert "1 stopped:" in lines and "3 not begun:" in lines
    assert lines[-2:] == ["this command goes on:", f"  {shlex.join(['ltrun', *words])}"]
    states = [line.split("\t")[0] for line in ltrun("status").stdout.splitlines()]
    assert states[:-1] == ["waiting"] * 3 + ["unfinished"]
    again = ltrun(*words)
    assert again.returncode == 0, again.stderr
    assert next(line for line in again.stdout.splitlines() if line.endswith(", seed 1")).startswith("erm")
    assert not list(tmp_path.rglob("job.json")), "nothing waits any more"


def test_a_failed_job_leaves_the_command_that_trains_it_alone(ltrun: Run) -> None:
    done = ltrun("-m", "optimizer.lr=1e30,0.1", "seed=3", *SHORT, *ALONE, "sweep.budget=1h")
    assert done.returncode == 1
    (retry,) = [line for line in done.stderr.splitlines() if "to retry: " in line]
    words = shlex.split(retry.partition("to retry: ")[2])
    assert words[0] == "ltrun" and "optimizer.lr=1e+30" in words and "sweep.budget=1h" not in words
    assert "the loss is not finite" in refused(ltrun(*words[1:]))


def test_a_run_that_another_command_has_finished_is_not_trained_again(ltrun: Run, tmp_path: Path) -> None:
    words = ["method=erm", "network=resnet8", *SHORT]
    assert ltrun(*words).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    before = result.stat().st_mtime_ns
    with hydra_ready():
        record = run(compose_job(words), Bar())
    assert record.seed == 0 and result.stat().st_mtime_ns == before


def test_a_job_of_an_experiment_with_a_budget_trains_alone(ltrun: Run, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nsweep:\n  budget: 1h\n  commands: [seed=0]\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text)
    words = ["--config-dir", "conf", "experiment=mine", *SHORT, "epochs=1"]
    failed = ltrun(*words, "optimizer.lr=1e30")
    retry = shlex.split(failed.stderr.partition("to retry: ltrun ")[2].splitlines()[0])
    done = ltrun(*retry, "optimizer.lr=0.1")
    assert failed.returncode == 1 and done.returncode == 0, failed.stderr + done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["method=erm", "sweep.budget=1h"], "this command trains one run"),
        (["-m", "seed=0,1", "sweep.budget=1h", "hydra/launcher=basic"], "the launcher sets the time of a job"),
    ],
)
def test_a_budget_that_nothing_would_keep_is_refused(words: list[str], why: str, ltrun: Run, tmp_path: Path) -> None:
    assert why in refused(ltrun("dataset=digits_lt", *words)) and not list(tmp_path.iterdir())
