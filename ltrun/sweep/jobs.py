"""The jobs of a command line: those done before are skipped, the others train one after the other, or several at once: on a
CPU each in a process of its own, so that a job that is killed is one failed line of the table and the others go on; on a GPU
as threads of one process, whose work the device does side by side, which it does not with that of several processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ltrun.config.compose import Job, compose_job
from ltrun.engine.progress import Progress
from ltrun.errors import LtrunError
from ltrun.results.address import RESULT, reset
from ltrun.results.record import RunRecord
from ltrun.sweep.capacity import at_once_of
from ltrun.sweep.outcome import Outcome, attempt
from ltrun.sweep.overview import Overview
from ltrun.sweep.pool import Pool


def train(commands: Sequence[Sequence[str]], note: Callable[[Outcome], None]) -> None:
    """Trains the job of each command line that is not done, and notes what became of each. Hydra must be initialised.

    Raises Hydra's errors where the first job cannot be composed; a later one that cannot is a failed job.
    """
    overview = Overview(len(commands))
    jobs = _jobs(commands, overview, note)
    first = next(jobs, None)
    if first is None:
        return
    jobs = itertools.chain([first], jobs)
    if first.settings.force and len(commands) > 1:
        known = list(jobs)
        for job in known:  # now, or results of before would stand beside those of a sweep that is cut short
            reset(job.folder)
        jobs = iter(known)
    size, lanes = at_once_of(first, len(commands))
    if size == 1:
        for job in jobs:
            note(train_here(job))
        return
    with Pool(size, lanes, overview, note) as pool:
        for job in jobs:
            pool.add(job)
        pool.finish()


def _jobs(commands: Sequence[Sequence[str]], overview: Overview, note: Callable[[Outcome], None]) -> Iterator[Job]:
    """Those that are not done, composed when they are asked for."""
    seen: set[Path] = set()
    for index, words in enumerate(commands):
        try:
            job = compose_job(words)
            done = job.folder not in seen and done_before(job)
        except (HydraException, OmegaConfBaseException, LtrunError) as error:
            if not index and not isinstance(error, LtrunError):
                raise
            overview.skip()
            note(Outcome(" ".join(words), "", " ".join(str(error).split())))
            continue
        if not done and job.folder not in seen:
            yield job
        else:  # or the run of another job, as in seed=0,0
            overview.skip()
        if done:
            note(Outcome(job.title, str(job.folder)))
        seen.add(job.folder)


def done_before(job: Job) -> bool:
    """Whether the run has its result; says so. Raises DataError for a damaged one."""
    if job.settings.force or not (job.folder / RESULT).exists():
        return False
    record = RunRecord.load(job.folder / RESULT)
    assert record.seed == job.seed
    print(f"{job.title}: done before, in {job.folder} (force=true trains it again)")
    return True


def train_here(job: Job) -> Outcome:
    """Trains in this process, with the live bar."""
    with Progress() as progress:
        failure = attempt(job, progress)
        if failure is None:
            progress.say(f"written to {job.folder}")
    return Outcome(job.title, str(job.folder), failure)
