"""Order of the jobs of a sweep, the jobs that its time leaves out, and the jobs of other processes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ltrun.config.job import Job
from ltrun.machine import OutOfTime
from ltrun.results.folder import locked
from ltrun.sweep.costs import Costs
from ltrun.sweep.outcome import Outcome
from ltrun.sweep.queue import Budget, Queue, ending


@dataclass(frozen=True)
class One:
    """A job as far as a queue knows it."""

    method: str
    seed: int
    root: Path
    settings: Any = field(default_factory=lambda: SimpleNamespace(force=False, epochs=10), compare=False)
    command: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.method} {self.seed}"

    @property
    def folder(self) -> Path:
        return self.root / self.method / "01234567" / f"seed{self.seed}"

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "job.json").write_text("{}")


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return [cast(Job, One(method, seed, tmp_path)) for method in ("erm", "crt", "ride") for seed in (0, 1)]


def budget(jobs: list[Job], seconds: float, **whole: float) -> Budget:
    """A budget to which the methods cost `whole` seconds a run."""
    costs = Costs(jobs, 1, on_cpu=True)
    costs.whole = {job.folder.parent: whole[job.method] for job in jobs if job.method in whole}
    return Budget("1h", seconds, costs)


def titles(jobs: list[Job]) -> list[str]:
    return [job.title for job in jobs]


def begun(queue: Queue) -> list[str]:
    return titles(list(iter(queue.next, None)))


def test_a_sweep_without_a_budget_keeps_its_order_and_with_one_trains_whole_rows_first(jobs: list[Job]) -> None:
    assert begun(Queue(jobs, lambda outcome: None)) == ["erm 0", "erm 1", "crt 0", "crt 1", "ride 0", "ride 1"]
    rows = ["erm 0", "crt 0", "ride 0", "erm 1", "crt 1", "ride 1"]
    assert begun(Queue(jobs, lambda outcome: None, budget(jobs, 3600))) == rows


def test_what_does_not_fit_is_not_begun_and_what_is_unknown_is(jobs: list[Job]) -> None:
    notes: list[Outcome] = []
    queue = Queue(jobs, notes.append, budget(jobs, 100, erm=50, crt=200))
    assert begun(queue) == ["erm 0", "ride 0", "erm 1", "ride 1"]
    queue.conclude()
    assert [(note.title, note.state) for note in notes] == [("crt 0", "waiting"), ("crt 1", "waiting")]
    assert notes[0].reason == "does not fit into sweep.budget=1h: it needs about 3m20s"
    assert begun(Queue(jobs, notes.append, budget(jobs, 0))) == [], "nothing begins when the time has ended"


def test_the_first_epochs_and_whole_runs_of_the_sweep_say_what_fits(jobs: list[Job]) -> None:
    queue = Queue(jobs, lambda outcome: None, budget(jobs, 100))
    assert queue.next() is jobs[0]
    queue.advance(jobs[0], 2.0, 10, 1600.0)
    assert queue.budget is not None and queue.budget.costs.left(jobs[1]) == 2000
    queue.began[jobs[0].folder] -= 30
    queue.end(jobs[0], Outcome.of(jobs[0], "done"))
    queue.advance(jobs[1], 2.0, 10, 1600.0)
    assert queue.budget.costs.left(jobs[1]) == pytest.approx(30, abs=5), "a whole run counts more than a pace"


def test_a_plan_says_what_fits_and_what_is_unknown(jobs: list[Job]) -> None:
    assert budget(jobs, 120, erm=50, crt=30, ride=20).plan(Queue(jobs, print, budget(jobs, 9)).waiting, 1) == [
        "sweep.budget=1h: 6 jobs, 1 at once, about 3m20s of work: 3 fit, with them all of seed 0"
    ]
    some, unknown = budget(jobs, 120, erm=50).plan(jobs, 2)
    assert some == "sweep.budget=1h: 6 jobs, 2 at once, about 1m40s of work: 2 fit"
    assert unknown.endswith("nothing was measured yet of 4 jobs (crt, ride); their first epochs will tell")
    assert len(budget(jobs, 120).plan(jobs, 2)) == 1


def test_runs_that_another_command_trains_or_has_trained_are_left_to_it(jobs: list[Job]) -> None:
    notes: list[Outcome] = []
    queue = Queue(jobs[:3], notes.append)
    assert all((job.folder / "job.json").exists() for job in jobs[:3]), "ltrun status sees what waits"
    with locked(jobs[0].folder, {}):
        (jobs[1].folder / "result.json").touch()
        assert begun(queue) == ["crt 0"]
        assert [(note.title, note.state) for note in notes] == [("erm 1", "done")]
        queue.conclude()
        assert notes[-1].state == "elsewhere" and "another process (" in notes[-1].reason
    assert [(job.folder / "job.json").exists() for job in jobs[:3]] == [True, False, True]


def test_a_run_whose_process_gives_up_is_taken_over(jobs: list[Job]) -> None:
    queue = Queue(jobs[:1], lambda outcome: None)
    with locked(jobs[0].folder):
        assert queue.next() is None
    assert queue.next() is jobs[0]


def test_the_end_of_the_time_interrupts_the_main_thread(jobs: list[Job]) -> None:
    end = time.monotonic() + 20
    with pytest.raises(OutOfTime), ending(budget(jobs, 0.05)):
        while time.monotonic() < end:
            pass
    with pytest.raises(OutOfTime), ending(budget(jobs, 0)):
        raise AssertionError("the time had ended before")
    with ending(None), ending(budget(jobs, 60)):
        pass
