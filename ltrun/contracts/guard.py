"""A guard around code of a user's own: what it prints is kept, nothing is read from the keyboard, and it ends in time."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator

SECONDS = 120.0  # a contract takes a few


class Overdue(BaseException):
    """Code of a user's own goes on for too long. No Exception, which that code may catch."""


@contextlib.contextmanager
def guarded(seconds: float | None = None) -> Iterator[io.StringIO]:
    """Yields what is printed meanwhile. Raises Overdue after so many seconds, SECONDS unless said."""
    limit = SECONDS if seconds is None else seconds
    in_time = threading.current_thread() is threading.main_thread()  # only there can a signal be given a handler

    def stop(*_: object) -> None:
        raise Overdue(f"it does not end within {limit:g} seconds")

    printed = io.StringIO()
    before = signal.signal(signal.SIGALRM, stop) if in_time else None
    keyboard = sys.stdin
    try:
        with open(os.devnull) as nothing, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):  # noqa: PTH123
            sys.stdin = nothing
            if in_time:
                signal.setitimer(signal.ITIMER_REAL, limit)
            yield printed
    finally:
        sys.stdin = keyboard
        if in_time:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
