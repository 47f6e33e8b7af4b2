"""Launcher `gpus`: one job on each GPU of this machine, each in a process of its own, which ends with the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from ltrun.config.job import Job
from ltrun.errors import ConfigError
from ltrun.sweep.launchers.places import folder_of_locks, occupy, places_of
from ltrun.sweep.outcome import Outcome, forget
from ltrun.sweep.overview import Overview
from ltrun.sweep.pool import Pool
from ltrun.sweep.queue import Queue, budget_of
from ltrun.sweep.server import answer_of

WITHOUT = "leave hydra/launcher=gpus out"


def train(jobs: Sequence[Job], total: int, note: Callable[[Outcome], None], settings: Mapping[str, Any]) -> None:
    """Trains the jobs and notes the outcome of each. total: jobs of the sweep, also those done before. settings: `slots`.

    Raises ConfigError if there is no GPU, or if the GPUs cannot be shared.
    """
    slots = settings["slots"]
    if not isinstance(slots, int) or isinstance(slots, bool) or slots < 1:
        raise ConfigError(f"hydra.launcher.slots: expected a whole number of at least 1, got {slots}")
    if device := next((job.settings.runtime.device for job in jobs if job.settings.runtime.device not in ("auto", "cuda")), ""):
        raise ConfigError(f"runtime.device={device}: hydra/launcher=gpus chooses the device of each job; leave one of them out")
    gpus = visible_gpus()
    if not gpus:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = "" if hidden is None else f" among CUDA_VISIBLE_DEVICES={hidden}"
        raise ConfigError(f"hydra/launcher=gpus: PyTorch finds no GPU on this machine{seen}; {WITHOUT} to train on the CPU")
    folder, places = folder_of_locks(), places_of(gpus, slots)
    for job in jobs:
        forget(job)
    size, overview = min(len(places), len(jobs)), Overview(total, total - len(jobs))
    queue = Queue(jobs, note, budget_of(jobs, slots, lambda: False))
    queue.announce(size)
    with Pool(size, 1, overview, note, slots, partial(occupy, folder, places)) as pool:
        pool.train(queue)
    queue.conclude()


def idle() -> bool:
    """Whether the command runs inside a job of SLURM, which has shared out the GPUs already; then says so."""
    if "SLURM_JOB_ID" not in os.environ:
        return False
    told = f"hydra/launcher=gpus leaves the GPUs to SLURM, in whose job {os.environ['SLURM_JOB_ID']} this command runs"
    print(f"ltrun: {told}; the jobs train as without it", file=sys.stderr)
    return True


def visible_gpus() -> list[tuple[str, str]]:
    """Returns each GPU that PyTorch sees: its name in CUDA_VISIBLE_DEVICES, and its UUID."""
    uuids = answer_of(_tell_gpus) or []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in given.split(",")] if given is not None else map(str, range(len(uuids)))
    return list(zip(names, uuids, strict=False))  # CUDA stops at the first name that it does not know


def _tell_gpus(channel: Connection) -> None:
    import torch

    count = torch.cuda.device_count()
    channel.send([str(torch.cuda.get_device_properties(index).uuid) for index in range(count)])
