"""A process at the lowest priority, which still ends when it is told to."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def step_back(niceness: int) -> None:
    """Forks: the caller continues in the child, at a lower priority. The parent passes signals on and exits with its code.

    niceness: 0 is the priority of other programs, 19 the lowest. The child gets a session of its own: Linux shares the
    processor between sessions and applies the niceness of a process only within its session (sched_autogroup_enabled).
    """
    heard, held = os.pipe()
    child = os.fork()
    if child:
        os.close(heard)
        _stand_for(child)
    os.close(held)
    os.setsid()
    os.nice(niceness)
    with suppress(OSError):  # not Linux, or a kernel without autogroups
        AUTOGROUP.write_text(str(niceness))
    threading.Thread(target=_end_after, args=(heard,), daemon=True).start()


def _stand_for(child: int) -> None:
    """Waits for the child. Ctrl-C reaches only the parent, because the child has left the session of the terminal."""
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
    """Ends the child as SIGTERM does when the parent is gone, for example after kill -9: nobody else could stop it."""
    os.read(heard, 1)
    os.kill(os.getpid(), signal.SIGTERM)
