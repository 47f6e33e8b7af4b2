"""Outcome of a job, read from the job's folder: error.log says failed, result.json done, neither says unfinished."""

from __future__ import annotations

import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ltrun.config.job import Job
from ltrun.config.words import command_line, words_of
from ltrun.engine.progress import Reporter
from ltrun.errors import BusyError, LtrunError, TrainingError, heed_interruption
from ltrun.results.address import ERROR, RESULT
from ltrun.results.atomic import write_atomically
from ltrun.results.folder import failure, made, put_back, set_aside
from ltrun.sweep.together import from_first, settle

GOES_ON = "the same command resumes from its last checkpoint"
STOPPED = f"it never started, or its process was ended; {GOES_ON}"


Ending = Literal["done", "failed", "unfinished", "stopped", "waiting", "elsewhere"]


@dataclass(frozen=True)
class Outcome:
    """State of a job after a sweep. folder: None for a job that could not be composed. reason: why there is no result.

    state: unfinished, if its process ended; stopped, if the sweep's time ended while it trained; waiting, if it has not begun;
    elsewhere, if another process trains it. command: what trains this job alone, quoted for the shell.
    """

    title: str
    folder: Path | None
    state: Ending
    reason: str = ""
    command: str = field(default="", compare=False)

    @classmethod
    def of(cls, job: Job, state: Ending, reason: str = "") -> Outcome:
        return cls(job.title, job.folder, state, reason, command_line(words_of(job.command)))


def outcome_of(job: Job, unfinished: str = STOPPED) -> Outcome:
    """Reads the outcome of a job from its folder. unfinished: the reason if there is neither a result nor an error."""
    reason = failure(job.folder)
    if reason is not None:  # also if the old result was kept because a forced run was refused
        return Outcome.of(job, "failed", reason)
    if (job.folder / RESULT).exists():
        return Outcome.of(job, "done")
    return Outcome.of(job, "unfinished", unfinished)


def cause_of_death(code: int | None) -> str:
    """Returns why a job has no result whose process ended with an exit code, or by the signal that is its negative."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        reason = f"its process was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    else:
        reason = f"its process ended with exit code {code}"
    return f"{reason}; {GOES_ON}"


def forget(job: Job) -> None:
    """Removes a job's old error, which would pass for a new outcome; if forced, sets its result and checkpoints aside."""
    if job.settings.force:
        set_aside(job.folder)
    _forget_error(job)


def attempt(job: Job, reporter: Reporter, at_once: int = 1, alone: bool = False) -> str | None:
    """Trains a job. Returns the reason why there is no result, and leaves it in error.log; None for a success.

    at_once: number of jobs that share the machine. alone: whether the job is the whole command; then a run that is refused
    before its folder exists gets no folder. Raises Lost if the job fails on this rank, and not on every other.
    """
    from_first(lambda: _forget_error(job))
    try:
        from ltrun.engine.run import run

        run(job, reporter, at_once)
    except BusyError as error:  # the folder belongs to the process that trains
        sentence = _line(error)
        settle(sentence)
        return sentence
    except LtrunError as error:
        heed_interruption(error)
        sentence, trace = _line(error), ""
    except (Exception, SystemExit) as error:  # a plugin that calls sys.exit would end the command without a word
        heed_interruption(error)
        sentence, trace = _defect(error), traceback.format_exc()
    else:
        settle(None)
        return None
    kept = not alone or job.folder.is_dir()
    if trace:
        sentence += f"; the traceback is in {job.folder / ERROR})" if kept else f")\n{trace}"
    settle(sentence, lambda: _leave(job, sentence, trace, kept))
    return sentence


def _leave(job: Job, sentence: str, trace: str, kept: bool) -> None:
    """Leaves the failure of a job in its folder. kept: whether the folder is to be."""
    if job.settings.force:  # no other process trains this run and could take the old result for its own
        put_back(job.folder)
    if kept:
        with suppress(TrainingError):  # the folder cannot be written to; the caller prints the sentence
            write_atomically(job.folder / ERROR, f"{sentence}\n{trace}".encode())


def refuse(job: Job, sentence: str) -> Outcome:
    """Returns the outcome of a job that is refused before it begins, and leaves it in the folder as a failure."""
    with suppress(LtrunError):  # the folder cannot be written to; the caller prints the sentence
        write_atomically(made(job.folder) / ERROR, f"{sentence}\n".encode())
    return Outcome.of(job, "failed", sentence)


def tell(outcome: Outcome, named: bool) -> None:
    """Prints why a job that has ended has no result. named: with the job's title."""
    if outcome.state not in ("done", "waiting", "elsewhere"):  # what has not begun is listed once, at the end
        print(f"ltrun: {outcome.title}: {outcome.reason}" if named else f"ltrun: {outcome.reason}", file=sys.stderr)


def _forget_error(job: Job) -> None:
    with suppress(OSError):  # the run will say that it cannot write there
        (job.folder / ERROR).unlink(missing_ok=True)


def _defect(error: BaseException) -> str:
    """Returns the first line of an error, and the plugin's innermost part that raised it, with file and line, or ltrun.

    The caller closes the parenthesis.
    """
    from ltrun.parts import Backbone, Part

    said = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        owner = type(frame.f_locals.get("self"))
        if issubclass(owner, (Part, Backbone)) and not owner.__module__.startswith("ltrun."):
            return f"{owner.__module__}.{owner.__qualname__} raises {said} ({frame.f_code.co_filename}, line {line}"
    return f"{said} (a defect of ltrun or of a part"


def _line(error: Exception) -> str:
    return " ".join(str(error).splitlines())
