"""A task of a scheduler: trains a job in a process of its own, or in several by torchrun, and heeds the scheduler's signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from ltrun.machine import STOPS, WARNINGS
from ltrun.sweep.launchers.one import RESUMES
from ltrun.sweep.outcome import cause_of_death

HEEDED = (*STOPS, signal.SIGINT)
LOOK = 0.5  # seconds between two looks for a signal that no system call reports, such as Ray's
Handler = Callable[[int, FrameType | None], Any] | int | None


def supervise(file: str, ranks: int) -> str:
    """Trains the job of a file in processes of its own. Returns why they ended early; "" if the folder holds the outcome.

    A signal of the scheduler has them save the last epoch first. Then its former handler acts, such as submitit's, which
    requeues the task; without one, SystemExit is raised with the exit code that says so, RESUMES.
    """
    stops: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        for child in children:
            child.send_signal(signal.SIGTERM)

    before: dict[int, Handler] = {number: signal.signal(number, stop) for number in HEEDED}
    command = [sys.executable, "-m", "ltrun.sweep.launchers.one", file, str(ranks), str(os.getpid())]
    with subprocess.Popen(command, env=_environment()) as child:
        children.append(child)
        if stops:  # while it was being started
            child.send_signal(signal.SIGTERM)
        code = _code(child)
    for number, handler in before.items():
        signal.signal(number, handler)
    if stops and code != 0:
        for number in [number for number in stops if number in WARNINGS][:1]:
            if callable(handler := before[number]):
                handler(number, None)
        raise SystemExit(RESUMES)
    return cause_of_death(code) if code < 0 or code > 1 else ""


def _code(child: subprocess.Popen[bytes]) -> int:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(LOOK)


def _environment() -> dict[str, str]:
    """Returns the environment without the variables of a group of ranks to which this process may belong."""
    return {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}


class Task:
    """What submitit pickles and calls for each run."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks

    def __call__(self, file: str) -> str:
        return supervise(file, self.ranks)

    def checkpoint(self, file: str) -> Any:
        """Returns what the requeued task does: the same, which resumes from the run's checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, file)
