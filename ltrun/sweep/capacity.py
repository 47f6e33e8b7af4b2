"""Number of jobs that train at once."""

from __future__ import annotations

from ltrun.config.job import Job
from ltrun.machine import cores, free_memory
from ltrun.sweep.server import has_cuda

MEMORY = 2 * 2**30  # bytes: estimate for a run on a CPU


def at_once_of(job: Job, jobs: int) -> tuple[int, int]:
    """Returns the number of jobs that train at once, and the number of them in one process: 1 on a CPU, all on a GPU.

    runtime.pack=auto: on a CPU, a job per core and per 2 GiB of free memory, whichever is fewer; on a GPU, one job.
    """
    wanted, device = job.settings.runtime.pack, job.settings.runtime.device
    size = min(jobs, max(1, min(cores(), free_memory() // MEMORY)) if wanted == "auto" else wanted)
    if size == 1 or device == "cpu" or (device == "auto" and not has_cuda()):
        return size, 1
    return (1, 1) if wanted == "auto" else (size, size)
