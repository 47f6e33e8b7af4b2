"""Jobs of a sweep that have not begun, in the order in which they begin, and the time that a sweep has."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ltrun.config.job import Job
from ltrun.engine.course import duration
from ltrun.errors import LtrunError
from ltrun.machine import OutOfTime, out_of_time
from ltrun.results.address import JOB, RESULT
from ltrun.results.folder import is_trained, whose
from ltrun.sweep.costs import Costs, progress
from ltrun.sweep.outcome import GOES_ON, Outcome


class Budget:
    """The time of a sweep. text: as it was given, such as 8h. seconds: from now. costs: what jobs take."""

    def __init__(self, text: str, seconds: float, costs: Costs) -> None:
        self.text, self.seconds, self.costs = text, seconds, costs
        self.end = time.monotonic() + seconds

    @property
    def name(self) -> str:
        return f"sweep.budget={self.text}"

    def left(self) -> float:
        """Returns the seconds left, 0 at the end."""
        return max(0.0, self.end - time.monotonic())

    def fits(self, job: Job) -> bool:
        """Whether a job would end in time, as far as anything like it was measured."""
        return (self.costs.left(job) or 0.0) < self.left()

    def lacks(self, job: Job) -> str:
        """Returns why a job has not begun."""
        seconds = self.costs.left(job)
        needs = "" if seconds is None else f": it needs about {duration(seconds)}"
        return f"does not fit into {self.name}{needs}"

    def plan(self, jobs: Sequence[Job], places: int) -> list[str]:
        """Returns what will fit, in a line, and what was not measured yet, in another."""
        ends, work, fits, unknown = [0.0] * places, 0.0, [], []
        for job in jobs:
            seconds = self.costs.left(job)
            if seconds is None:
                unknown.append(job)
                continue
            work += seconds
            place = ends.index(min(ends))
            if ends[place] + seconds < self.seconds:
                ends[place] += seconds
                fits.append(job)
        without = [job.seed for job in jobs if job not in fits]
        rows = [str(seed) for seed in dict.fromkeys(job.seed for job in fits) if seed not in without]
        told = f"{self.name}: {len(jobs)} jobs, {places} at once, about {duration(work)} of work: {len(fits)} fit"
        lines = [told + (f", with them all of seed {', '.join(rows)}" if rows else "")] if fits or not unknown else []
        if unknown:
            names = ", ".join(dict.fromkeys(job.method for job in unknown))
            lines.append(
                f"{self.name}: nothing was measured yet of {len(unknown)} jobs ({names}); their first epochs will tell"
            )
        return lines


class Queue:
    """Jobs that have not begun. With a budget whole rows come first: a seed of all configurations, then the next seed.

    note: takes the outcome of each job. Every job leaves its job.json in its folder until it is done, so that `ltrun status`
    sees it from any machine.
    """

    def __init__(self, jobs: Sequence[Job], note: Callable[[Outcome], None], budget: Budget | None = None) -> None:
        self.waiting = sorted(jobs, key=lambda job: job.seed) if budget else list(jobs)
        self.note, self.budget = note, budget
        self.again = {job.folder for job in jobs if job.settings.force or (job.folder / RESULT).exists()}
        self.began: dict[Path, float] = {}
        for job in jobs:
            with suppress(LtrunError):  # the run itself will say that its folder cannot be written to
                job.save()

    def announce(self, places: int) -> None:
        """Prints what a budget has room for. places: number of jobs at once."""
        if self.budget:
            print("\n".join(self.budget.plan(self.waiting, places)))

    def next(self) -> Job | None:
        """Takes the next job that may begin now: that fits, and that no other process trains. None if there is none.

        Notes a job that another command has finished since this sweep began.
        """
        for job in list(self.waiting):
            if (job.folder / RESULT).exists() and job.folder not in self.again:
                _forget(job)
                self._drop(job, Outcome.of(job, "done"))
            elif (self.budget is None or self.budget.fits(job)) and not is_trained(job.folder):
                self.waiting.remove(job)
                self._begin(job)
                return job
        return None

    def left(self) -> float | None:
        """Returns the seconds left; None without a budget."""
        return self.budget.left() if self.budget else None

    def stopped(self, job: Job) -> Outcome:
        """Returns the outcome of a job that was training when the time ended."""
        name = self.budget.name if self.budget else ""
        return Outcome.of(job, "stopped", f"{name} ended, and its last epoch is kept; {GOES_ON}")

    def advance(self, job: Job, done: float, total: int, left: float) -> None:
        """See `Costs.advance`."""
        if self.budget:
            self.budget.costs.advance(job, done, total, left)

    def end(self, job: Job, outcome: Outcome) -> None:
        """Notes how a job that had begun has ended."""
        if outcome.state == "done":
            _forget(job)
        began = self.began.pop(job.folder, None)
        if self.budget and began is not None and outcome.state == "done":
            self.budget.costs.finish(job, time.monotonic() - began)
        self.note(outcome)

    def conclude(self) -> None:
        """Notes the jobs that have not begun when no further one may."""
        for job in list(self.waiting):
            if is_trained(job.folder):
                self._drop(job, Outcome.of(job, "elsewhere", f"another process{whose(job.folder)} trains it"))
            else:
                self._drop(job, Outcome.of(job, "waiting", self.budget.lacks(job) if self.budget else GOES_ON))

    def _begin(self, job: Job) -> None:
        if self.budget and progress(job.folder) is None:  # a resumed run does not show what a whole one takes
            self.began[job.folder] = time.monotonic()

    def _drop(self, job: Job, outcome: Outcome) -> None:
        self.waiting.remove(job)
        self.note(outcome)


def _forget(job: Job) -> None:
    with suppress(OSError):
        (job.folder / JOB).unlink(missing_ok=True)


def budget_of(jobs: Sequence[Job], at_once: int, on_cpu: Callable[[], bool]) -> Budget | None:
    """Returns the time that the sweep of these jobs has; None if it has no limit. on_cpu: whether they train on a CPU."""
    asked = jobs[0].settings.sweep
    return None if asked.seconds is None else Budget(str(asked.budget), asked.seconds, Costs(jobs, at_once, on_cpu()))


@contextmanager
def ending(budget: Budget | None) -> Iterator[None]:
    """Raises OutOfTime in this thread, the main one, when the budget ends."""
    if budget is None:
        yield
        return
    if not budget.left():
        raise OutOfTime
    before = signal.signal(signal.SIGALRM, out_of_time)
    try:
        signal.setitimer(signal.ITIMER_REAL, budget.left())
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
