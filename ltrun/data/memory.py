"""How much memory is left for images."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CGROUPS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def available(device: torch.device, cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that new data may take: of the device, or of the machine, less where a container is given less."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [_of_machine()]
    for limit, used in CGROUPS:
        with suppress(OSError, ValueError):  # another version of cgroups, or no limit: 'max'
            free.append(int((cgroups / limit).read_text()) - int((cgroups / used).read_text()))
    return max(min(free), 0)


def _of_machine() -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # not Linux: all there is
