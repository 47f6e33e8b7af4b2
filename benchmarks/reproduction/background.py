"""A process that yields to all others, and still ends when it is told to."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def step_back(niceness: int) -> None:
    """Goes on behind other programs, in a process with a session of its own; this one waits, hands on what it is told, and
    exits with the other's code. niceness: from 0, as they are, to 19, the last.

    Linux weighs sessions against one another, and the niceness of a process within its own session only
    (sched_autogroup_enabled), so a session of its own is what can be put behind the others.
    """
    heard, held = os.pipe()
    child = os.fork()
    if child:
        os.close(heard)
        _stand_for(child)
    os.close(held)
    os.setsid()
    os.nice(niceness)
    with suppress(OSError):  # not Linux, or without groups
        AUTOGROUP.write_text(str(niceness))
    threading.Thread(target=_end_after, args=(heard,), daemon=True).start()


def _stand_for(child: int) -> None:
    """Ctrl-C reaches this process alone, because the terminal is that of its session."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: _tell(child, number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the queue outlives its terminal
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


def _tell(child: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _end_after(heard: int) -> None:
    """When the process that waits is gone, as after kill -9, nobody can stop this one any more: it ends as by SIGTERM."""
    os.read(heard, 1)
    os.kill(os.getpid(), signal.SIGTERM)
