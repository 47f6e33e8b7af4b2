"""What the machine has left for this process, and how long it lives. Needs no torch, and multiprocessing only when asked."""

from __future__ import annotations

import errno
import os
import platform
import signal
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from ltrun.errors import ConfigError

PATH, NAMES = 103, 32  # bytes that the path of a socket may have, and of these what multiprocessing adds to a folder
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # folders for sockets where TMPDIR is too long a path
LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def cores() -> int:
    """CPU cores that this process may use, by its affinity and by the quota of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no container, or no quota: 'max'
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        return min(affinity, max(1, quota // period))
    return affinity


def processor() -> str:
    """The name that the CPU's maker gave it, or, where the system tells none, its architecture."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def free_memory(cgroups: Path = Path("/sys/fs/cgroup"), machine: Path = Path("/proc/meminfo")) -> int:
    """Bytes that this process and its children may still take, by the machine and by the container."""
    free = [_of_machine(machine)]
    for limit, used in LIMITS:
        with suppress(OSError, ValueError):  # the other version of cgroups, or no limit: 'max'
            free.append(int((cgroups / limit).read_text()) - int((cgroups / used).read_text()))
    return max(min(free), 0)


def _of_machine(path: Path) -> int:
    with suppress(OSError, ValueError, StopIteration):
        return int(next(line.split()[1] for line in path.read_text().splitlines() if line.startswith("MemAvailable:"))) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # not Linux: all there is


def shorten_sockets() -> None:
    """Has multiprocessing put the sockets of this process where their paths are short enough, however long TMPDIR is.

    Raises OSError where there is no such folder that can be written to.
    """
    from multiprocessing.util import get_temp_dir

    reason = OSError(errno.ENAMETOOLONG, f"the path of TMPDIR has more than {PATH - NAMES} bytes")
    before = tempfile.tempdir
    for folder in (tempfile.gettempdir(), *SHORT):
        if len(os.fsencode(folder)) + NAMES <= PATH:
            tempfile.tempdir = folder
            try:
                get_temp_dir()  # which makes one at the first call, and remembers it for this process and its children
                return
            except OSError as error:
                reason = error
            finally:
                tempfile.tempdir = before
    raise reason


class Terminated(KeyboardInterrupt):
    """SIGTERM, as from a scheduler that takes the machine back."""


def terminate(*_: object) -> None:
    """A signal handler: of a scheduler that says it twice, the second does not cut short what the first has begun."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def end_with_parent() -> None:
    """Kills this process when its parent dies. A parent that is killed cannot do that itself."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    from multiprocessing import connection

    connection.wait([sentinel])
    end()


def end() -> None:
    """Dying at any moment is safe: see checkpoint.py."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_home(path: str, key: str) -> str:
    """A path whose ~ or ~user is written out. key: what the path was given as. Raises ConfigError for one without a home."""
    if not path.startswith("~"):
        return path
    name = path.partition("/")[0]
    if written(path) == path or (name == "~" and os.environ.get("HOME") == ""):
        whose = f"there is no user '{name[1:]}' with a home" if name != "~" else "this account has no home"
        raise ConfigError(f"{key}: {path} cannot be found, because {whose}; write the folder out")
    return written(path)


def written(path: str) -> str:
    """A path whose ~ is written out where that can be; its other characters stay, as a Path's would not."""
    return os.path.expanduser(path)  # noqa: PTH111
