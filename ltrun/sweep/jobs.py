"""Jobs of a sweep, all composed before the first one trains.

Skips finished jobs and trains the rest. On a CPU each job has its own process, so a killed job fails alone. On a GPU jobs are
threads of one process, because the device overlaps work of threads but not of processes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ltrun.config.compose import compose_job
from ltrun.config.job import Job
from ltrun.config.words import command_line, words_of
from ltrun.engine.progress import Bar, say
from ltrun.errors import DataError, LtrunError, heed_interruption
from ltrun.machine import OutOfTime, processes
from ltrun.results.address import RESULT
from ltrun.results.record import RunRecord
from ltrun.sweep.capacity import at_once_of
from ltrun.sweep.check import refusals
from ltrun.sweep.data_now import DataNow
from ltrun.sweep.outcome import Outcome, attempt, forget, outcome_of, refuse
from ltrun.sweep.overview import Overview
from ltrun.sweep.pool import Pool
from ltrun.sweep.queue import Queue, budget_of, ending
from ltrun.sweep.server import has_cuda, start_server
from ltrun.sweep.together import from_first

log = logging.getLogger(__name__)

Note = Callable[[Outcome], None]
UNCOMPOSED = (HydraException, OmegaConfBaseException, LtrunError)  # raised by a command line that does not compose


def compose_jobs(
    commands: Sequence[Sequence[str]],
    note: Note,
    search_path: Sequence[str] = (),
    compose: Callable[[Sequence[str]], Job] = compose_job,
) -> list[Job]:
    """Composes each command line. Returns the jobs to train, each once; notes finished and refused jobs.

    search_path: words that name folders of options, for all jobs. compose: composes a command line. Hydra must be initialised.
    Raises Hydra's errors if the first job cannot be composed; a later job is noted as failed.
    """
    jobs: list[Job] = []
    seen: set[Path] = set()
    data, again = DataNow(), 0
    for index, words in enumerate(commands):
        try:
            job = compose(words)
            job = replace(job, command=[*search_path, *job.command])
            if job.folder in seen:
                again += 1
                continue
            seen.add(job.folder)
            done = from_first(partial(done_before, job, data))
        except UNCOMPOSED as error:
            heed_interruption(error)
            if not index and not isinstance(error, LtrunError):
                raise
            note(Outcome(command_line(words_of(words)), None, "failed", " ".join(str(error).split())))
            continue
        if done:
            note(Outcome.of(job, "done"))
        else:
            jobs.append(job)
    if again:
        why = "a value is given twice, or a key such as runtime.levers changes no result"
        print(f"jobs left out, because the sweep has their runs already: {again} ({why})", file=sys.stderr)
    return jobs


def done_before(job: Job, data: DataNow) -> bool:
    """Whether the run has its result; then prints so. Raises DataError for a damaged result, and for a result of other data."""
    if job.settings.force or not (job.folder / RESULT).exists():
        return False
    record = RunRecord.load(job.folder / RESULT)
    if record.data and (told := data.difference(job, record.data)):
        raise DataError(f"{job.folder} holds the result of other data: {told}; force=true trains it again on these")
    if record.provenance.get("lost_rows"):
        return False  # resumes from its last checkpoint, so that only the work after training is repeated
    if told := data.written(job, record.data):
        log.warning("%s: %s", job.folder, told)
    print(f"{job.title}: done before, in {job.folder} (force=true trains it again)")
    return True


def without_refused(jobs: Sequence[Job], note: Note) -> list[Job]:
    """Returns the jobs that may train. Notes a job as failed if it will be refused whatever its data; its folder says why."""
    sentences = from_first(lambda: refusals(jobs))
    for job in jobs:
        if job.folder in sentences:
            note(from_first(partial(refuse, job, sentences[job.folder])))
    return [job for job in jobs if job.folder not in sentences]


def train(jobs: Sequence[Job], total: int, note: Note) -> None:
    """Trains the jobs of a sweep and notes the outcome of each. total: number of jobs, including the ones done before."""
    if not jobs:
        return
    for job in jobs:  # now: otherwise old results would stand beside the new ones of an interrupted sweep
        from_first(partial(forget, job))
    if processes() > 1:  # the ranks train each job together
        for job in jobs:
            note(train_here(job))
        return
    size, lanes = _at_once(jobs[0], total)
    queue = Queue(jobs, note, budget_of(jobs, size, partial(_on_cpu, jobs[0])))
    queue.announce(size)
    if size == 1:
        _one_by_one(queue)
    else:
        with Pool(size, lanes, Overview(total, total - len(jobs)), note) as pool:
            pool.train(queue)
    queue.conclude()


def _on_cpu(job: Job) -> bool:
    device = job.settings.runtime.device
    return device == "cpu" or (device == "auto" and not _has_cuda())


def _has_cuda() -> bool:
    try:
        return has_cuda()
    except OSError:  # no process can be started
        return False


def _one_by_one(queue: Queue) -> None:
    while (job := queue.next()) is not None:
        try:
            with ending(queue.budget):
                outcome = train_here(job)
        except OutOfTime:
            outcome = outcome_of(job)
            queue.end(job, queue.stopped(job) if outcome.state == "unfinished" else outcome)
            return
        queue.end(job, outcome)


def _at_once(job: Job, jobs: int) -> tuple[int, int]:
    """Returns `at_once_of`, or one job at a time if this machine cannot start a server of processes."""
    try:
        size, lanes = at_once_of(job, jobs)
        if size > 1:
            start_server()
        return size, lanes
    except OSError as error:
        log.warning(f"jobs train one after the other, as with runtime.pack=1: no processes can be started ({error.strerror})")
        return 1, 1


def train_here(job: Job, alone: bool = False) -> Outcome:
    """Trains in this process, with the live bar. alone: see `attempt`."""
    with Bar() as bar:
        failure = attempt(job, bar, alone=alone)
        if failure is None:
            say(bar.console, f"written to {job.folder}")
            return from_first(lambda: outcome_of(job))
    return Outcome.of(job, "failed", failure)
