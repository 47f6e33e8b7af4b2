"""How many jobs train at once."""

from __future__ import annotations

from ltrun.config.compose import Job
from ltrun.machine import cores, free_memory
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
