"""The end of a sweep: why jobs have no result, and the commands to retry them or to go on."""

from __future__ import annotations

import shlex
from pathlib import Path

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.sweep.outcome import Ending, Outcome
from ltrun.sweep.rest import rest

AGAIN = "ltrun -m seed=0,1"


def ended(state: Ending, reason: str = "", command: str = "") -> Outcome:
    return Outcome("erm, seed 1", None, state, reason, command)


def test_each_failure_has_its_reason_and_its_command() -> None:
    found = rest([ended("done"), ended("failed", "the loss is nan", "ltrun seed=1"), ended("unfinished", "killed")], AGAIN)
    assert found == ["2 failed:", "  erm, seed 1: the loss is nan", "    to retry: ltrun seed=1", "  erm, seed 1: killed"]


def test_what_waits_has_the_command_that_goes_on() -> None:
    found = rest([ended("stopped", "no time"), ended("waiting", "too long"), ended("elsewhere", "process 3")], AGAIN)
    assert [line for line in found if not line.startswith(" ")] == [
        "1 stopped:", "1 not begun:", "1 not trained here:", "this command goes on:"
    ]  # fmt: skip
    assert found[-1] == f"  {AGAIN}"
    assert rest([ended("done")], AGAIN) == []


def test_the_command_of_a_job_trains_the_same_run(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    words = ["method=ldam_drw", "schedule.milestones=[0.5,0.9]", "sweep.budget=8h", "force=true", f"outputs='{folder}'"]
    with hydra_ready():
        job = compose_job(words)
        command = Outcome.of(job, "failed").command
        again = compose_job(shlex.split(command)[1:])
    assert again.folder == job.folder
    assert "budget" not in command and "force" not in command
