"""CPU cores, free memory, sockets, signals and home folders. Needs no torch; imports multiprocessing only on demand."""

from __future__ import annotations

import errno
import os
import platform
import signal
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from ltrun.errors import ConfigError

PATH, NAMES = 103, 32  # bytes: the longest path of a socket, and the part of it that multiprocessing adds to a folder
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # folders for sockets if the path of TMPDIR is too long
MOST_WORKERS = 256  # processes that decode, more than any data set needs; thousands would bring a machine down
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)  # of a scheduler, some time before it ends a job
STOPS = (signal.SIGTERM, *WARNINGS)
LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def cores() -> int:
    """Returns the number of CPU cores that this process may use, by its affinity and its container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no container, or no quota: 'max'
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        return min(affinity, max(1, quota // period))
    return affinity


def processor() -> str:
    """Returns the model name of the CPU, or its architecture if the system does not know the model."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def free_memory(cgroups: Path = Path("/sys/fs/cgroup"), machine: Path = Path("/proc/meminfo")) -> int:
    """Returns the bytes that this process and its children may still allocate, by the machine's and the container's limits."""
    free = [_of_machine(machine)]
    for limit, used in LIMITS:
        with suppress(OSError, ValueError):  # the other version of cgroups, or no limit: 'max'
            free.append(int((cgroups / limit).read_text()) - int((cgroups / used).read_text()))
    return max(min(free), 0)


def _of_machine(path: Path) -> int:
    with suppress(OSError, ValueError, StopIteration):
        return int(next(line.split()[1] for line in path.read_text().splitlines() if line.startswith("MemAvailable:"))) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # not Linux: all physical memory


def shorten_sockets() -> None:
    """Makes multiprocessing create its sockets in a folder with a short path, even if the path of TMPDIR is long.

    Raises OSError if no such folder can be written to.
    """
    from multiprocessing.util import get_temp_dir

    reason = OSError(errno.ENAMETOOLONG, f"the path of TMPDIR has more than {PATH - NAMES} bytes")
    before = tempfile.tempdir
    for folder in (tempfile.gettempdir(), *SHORT):
        if len(os.fsencode(folder)) + NAMES <= PATH:
            tempfile.tempdir = folder
            try:
                get_temp_dir()  # creates a folder at the first call and remembers it for this process and its children
                return
            except OSError as error:
                reason = error
            finally:
                tempfile.tempdir = before
    raise reason


def began(process: int) -> int | None:
    """Returns when a process began, in clock ticks since the machine did; None if it has ended, or the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        facts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return int(facts[19]) if facts[0] != "Z" else None
    return None


class Terminated(KeyboardInterrupt):
    """SIGTERM, SIGUSR1 or SIGUSR2: a scheduler reclaims the machine, or the time of a job is nearly up."""


class OutOfTime(KeyboardInterrupt):
    """The end of a sweep's budget: what trains is stopped like an interrupted run."""


class Lost(KeyboardInterrupt):
    """The loss of another rank, with the reason: training cannot continue, and resumes like an interrupted one."""


def processes() -> int:
    """Returns the number of processes that torchrun started to train together; 1 without it."""
    return _number("WORLD_SIZE")


def processes_here() -> int:
    """Returns the number of those processes on this machine."""
    return _number("LOCAL_WORLD_SIZE")


def machines() -> int:
    """Returns the number of machines on which torchrun started them."""
    return _number("GROUP_WORLD_SIZE")


def _number(variable: str) -> int:
    given = os.environ.get(variable, "1")
    return max(int(given), 1) if given.isdecimal() else 1


def terminate(*_: object) -> None:
    """Signal handler that raises Terminated, and ignores further signals so that a second one cannot cut the exit short."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise Terminated


def heed_stops() -> None:
    """Lets the signals of a scheduler raise Terminated in the main thread, where nothing else handles them yet."""
    for number in STOPS:
        if signal.getsignal(number) is signal.SIG_DFL and threading.current_thread() is threading.main_thread():
            signal.signal(number, terminate)


def out_of_time(*_: object) -> None:
    """Signal handler that raises OutOfTime."""
    raise OutOfTime


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


def end_with(parent: int) -> None:
    """Kills this process within a second of the death of its parent, a process that did not start it by multiprocessing.

    parent: its number, because a parent that is dead already cannot be asked for it.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        end()

    threading.Thread(target=watch, daemon=True).start()


def end() -> None:
    """Kills this process at once, which is safe at any moment: see checkpoint.py."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_home(path: str, key: str) -> str:
    """Expands ~ or ~user in a path. key: the key or flag that gave the path. Raises ConfigError if there is no such home."""
    if not path.startswith("~"):
        return path
    name = path.partition("/")[0]
    if written(path) == path or (name == "~" and os.environ.get("HOME") == ""):
        whose = f"there is no user '{name[1:]}' with a home" if name != "~" else "this account has no home"
        raise ConfigError(f"{key}: {path} cannot be found, because {whose}; give the full path")
    return written(path)


def written(path: str) -> str:
    """Expands ~ in a path if there is such a home, and changes nothing else: pathlib would normalise the path."""
    return os.path.expanduser(path)  # noqa: PTH111
