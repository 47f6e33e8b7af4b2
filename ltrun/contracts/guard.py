"""A guard around a user's code: captures its output, closes its standard input, and ends it after a time limit."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator

SECONDS = 120.0  # most contracts take less than ten


class Overdue(BaseException):
    """The user's code ran past the time limit. A BaseException, so that `except Exception` in that code does not catch it."""


@contextlib.contextmanager
def guarded(seconds: float | None = None) -> Iterator[io.StringIO]:
    """Yields the captured output. Raises Overdue inside the block after `seconds`, SECONDS by default."""
    limit = SECONDS if seconds is None else seconds
    in_time = threading.current_thread() is threading.main_thread()  # Python sets signal handlers in this thread only

    def stop(*_: object) -> None:
        raise Overdue(f"it did not end within {limit:g} seconds")

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
