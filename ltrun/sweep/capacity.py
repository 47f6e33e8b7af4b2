"""How many jobs train at once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ltrun.config.compose import Job
from ltrun.machine import free_memory
from ltrun.sweep.server import has_cuda

MEMORY = 2 * 2**30  # bytes that a run on a CPU is reckoned to take


def at_once_of(job: Job, jobs: int) -> tuple[int, int]:
    """How many jobs train at once, the value of runtime.pack, and how many of them share a process: one, or on a GPU all.

    auto: one for each CPU core and 2 GiB of free memory, and one on a GPU.
    """
    wanted, device = job.settings.runtime.pack, job.settings.runtime.device
    size = min(jobs, max(1, min(cores(), free_memory() // MEMORY)) if wanted == "auto" else wanted)
    if size == 1 or device == "cpu" or (device == "auto" and not has_cuda()):
        return size, 1
    return (1, 1) if wanted == "auto" else (size, size)


def cores() -> int:
    """CPU cores that this process may use, by its affinity and by the quota of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no container, or no quota: 'max'
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        return min(affinity, max(1, quota // period))
    return affinity
