"""Launcher `slurm`: each run is a task of a job array, which submitit submits; outcomes are read from the runs' folders."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltrun import streams
from ltrun.config.job import Job
from ltrun.engine.progress import say
from ltrun.errors import ConfigError
from ltrun.machine import at_home
from ltrun.results.atomic import write_atomically
from ltrun.sweep.launchers.task import Task
from ltrun.sweep.outcome import GOES_ON, Outcome, forget, outcome_of

TASK = "task.json"  # in the folder of a run: its task in the queue
OF_SUBMITIT = ("timeout_min", "cpus_per_task", "mem_gb")  # keys that every cluster of submitit takes
OF_SLURM = (
    "signal_delay_s", "array_parallelism", "partition", "account", "qos", "constraint", "exclude", "setup",
    "additional_parameters",
)  # fmt: skip
LOOK, ASK = 2.0, 15.0  # seconds between two looks at the folders, and between two questions to SLURM


@dataclass
class Submitted:
    """A run in the queue. ended: whether SLURM did not know its task when it was last asked."""

    job: Job
    task: Any
    ended: bool = False


def train(jobs: Sequence[Job], total: int, note: Callable[[Outcome], None], settings: Mapping[str, Any]) -> None:
    """Submits the jobs, waits for them, and notes the outcome of each. total: jobs of the sweep, also those done before.

    settings: the keys of conf/hydra/launcher/slurm.yaml. Jobs that an earlier command has submitted are not submitted again.
    Raises ConfigError if they cannot be submitted, and LtrunError if a job's folder cannot be written to.
    """
    executor = executor_of(settings, Path(at_home(jobs[0].settings.outputs, "outputs")).absolute() / ".slurm" / "%A")
    waiting = _in_queue(jobs) if settings["cluster"] == "slurm" else []
    queued = {one.job.folder for one in waiting}
    fresh = [job for job in jobs if job.folder not in queued]
    for job in fresh:
        forget(job)
    console = streams.console()
    if waiting:
        say(console, f"in SLURM's queue already, from an earlier command: {len(waiting)} of {total} runs")
    if fresh:
        waiting += _submit(executor, fresh, settings)
    number = sorted({one.task.job_id.partition("_")[0] for one in waiting})
    say(console, f"{len(waiting)} runs in the queue, job {', '.join(number)}; what they print: {executor.folder.parent}")
    try:
        _wait(waiting, total - len(jobs), total, note)
    except KeyboardInterrupt:
        if settings["cluster"] == "slurm":
            told = "the runs stay in SLURM's queue; the same command waits for them, and"
            print(f"\nltrun: {told} scancel {' '.join(number)} removes them", file=sys.stderr)
        raise


def executor_of(settings: Mapping[str, Any], folder: Path) -> Any:
    """Returns submitit's executor. Raises ConfigError without submitit or SLURM, and for a value that makes no sense."""
    try:
        from submitit import AutoExecutor
    except ImportError:
        raise ConfigError("hydra/launcher=slurm needs submitit: pip install 'ltrun[slurm]'") from None
    cluster = settings["cluster"]
    if cluster not in ("slurm", "local"):
        raise ConfigError(f"hydra.launcher.cluster: expected slurm or local, got {cluster}")
    _check(settings)
    keys = {name: settings[name] for name in OF_SUBMITIT}
    keys |= {"gpus_per_node": settings["gpus"] or None, "name": "ltrun"}
    keys |= {f"slurm_{name}": settings[name] for name in OF_SLURM if cluster == "slurm"}
    try:
        executor = AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=settings["max_num_timeout"])
        executor.update_parameters(**{name: value for name, value in keys.items() if value not in (None, {})})
    except RuntimeError:
        way_out = "run it where sbatch and srun are, or try it with hydra.launcher.cluster=local"
        raise ConfigError(f"hydra/launcher=slurm: this machine has no SLURM; {way_out}") from None
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"hydra.launcher: submitit refuses a value ({' '.join(str(error).split())})") from None
    return executor


def _check(settings: Mapping[str, Any]) -> None:
    least = {"gpus": 0, "ranks": 1, "cpus_per_task": 1, "timeout_min": 1, "max_num_timeout": 0, "signal_delay_s": 1,
             "array_parallelism": 1}  # fmt: skip
    for name, lowest in least.items():
        value = settings[name]
        if value is None and name in ("ranks", "cpus_per_task"):
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ConfigError(f"hydra.launcher.{name}: expected a whole number of at least {lowest}, got {value}")


def _submit(executor: Any, jobs: Sequence[Job], settings: Mapping[str, Any]) -> list[Submitted]:
    """Submits a task for each job. Raises ConfigError with SLURM's reason, if it refuses."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    files = [str(job.save().absolute()) for job in jobs]
    ranks = settings["ranks"] or max(1, settings["gpus"])
    try:
        tasks = executor.map_array(Task(ranks), files)
    except (FailedJobError, FailedSubmissionError, OSError, subprocess.CalledProcessError) as error:
        reason = " ".join(str(error).split())[-300:]
        raise ConfigError(f"hydra/launcher=slurm: SLURM refuses the jobs ({reason}); see hydra.launcher.*") from None
    for job, task in zip(jobs, tasks, strict=True):
        content = {"task": task.job_id, "folder": str(executor.folder)}
        write_atomically(job.folder / TASK, json.dumps(content).encode() + b"\n")
    return [Submitted(job, task) for job, task in zip(jobs, tasks, strict=True)]


def _in_queue(jobs: Sequence[Job]) -> list[Submitted]:
    """Returns the jobs whose tasks of an earlier command are in the queue."""
    from submitit import SlurmJob

    known: dict[Path, dict[str, str]] = {}
    for job in jobs:
        with suppress(OSError, ValueError):
            known[job.folder] = json.loads((job.folder / TASK).read_bytes())
    queue = queue_of([said["task"] for said in known.values()]) or set() if known else set()
    found = [(job, known[job.folder]) for job in jobs if known.get(job.folder, {}).get("task") in queue]
    return [Submitted(job, SlurmJob(said["folder"], said["task"], [0])) for job, said in found]


def queue_of(tasks: Sequence[str]) -> set[str] | None:
    """Returns those of the tasks that wait or run, by squeue, which needs no accounting; None if SLURM does not answer."""
    numbers = sorted({task.partition("_")[0] for task in tasks})
    found: set[str] = set()
    for number in numbers:
        asked = ["squeue", "--noheader", "--array", "--format=%i", "--jobs", number]
        try:
            done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode and "Invalid job id" not in done.stderr:
            return None
        found |= set(done.stdout.split())
    return found


def _wait(waiting: Sequence[Submitted], ended: int, total: int, note: Callable[[Outcome], None]) -> None:
    """Waits for the tasks and notes the outcomes. ended: jobs of the sweep that had ended before."""
    console, left, asked = streams.console(), list(waiting), time.monotonic()
    while left:
        time.sleep(LOOK)
        gone: set[str] | None = None
        if time.monotonic() - asked >= ASK:
            asked = time.monotonic()
            gone = _gone([one.task for one in left])
        for one in list(left):
            if one.task.paths.result_pickle.exists() or (one.ended and gone is not None and one.task.job_id in gone):
                left.remove(one)
                outcome = _outcome(one)
                ended += 1
                if outcome.state == "done":
                    say(console, f"{ended}/{total} {one.job.title} | done")
                note(outcome)
            elif gone is not None:
                one.ended = one.task.job_id in gone  # counts at the second time: a file may show up late on this machine


def _gone(tasks: Sequence[Any]) -> set[str] | None:
    """Returns the tasks that neither wait nor run any more; None if SLURM does not answer."""
    from submitit import LocalJob

    if all(isinstance(task, LocalJob) for task in tasks):
        return {task.job_id for task in tasks if task.done()}
    queue = queue_of([task.job_id for task in tasks])
    return None if queue is None else {task.job_id for task in tasks} - queue


def _outcome(one: Submitted) -> Outcome:
    log = one.task.paths.stderr
    why = f"its task {one.task.job_id} was cancelled, ran out of memory or time, or lost its node (see {log}); {GOES_ON}"
    if one.task.paths.result_pickle.exists():
        try:
            why = one.task.result() or why
        except Exception as error:  # of submitit, or of a defect in the task, whose last line says which
            why = f"{str(error).strip().splitlines()[-1]} (see {log}); {GOES_ON}"
    with suppress(OSError):
        (one.job.folder / TASK).unlink(missing_ok=True)
    return outcome_of(one.job, why)
