"""Tasks in a child process: a task that raises, dies or hangs ends with an error, and the others go on."""

from __future__ import annotations

import gc
import signal
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

Row = dict[str, Any]
Handler = Callable[[Any], Row]
FATAL = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS")  # signs of an error that no later work of a process survives


class Child:
    """A process that makes a handler, `make(argument)`, and calls it with one task after another.

    After a death, a timeout or an error of the CUDA device, the next task gets a new process. make: a function or class of a
    module, because the process imports it.
    """

    def __init__(self, make: Callable[[Any], Handler], argument: Any):
        self.make, self.argument = make, argument
        self.process: Any = None
        self.channel: Connection | None = None

    def __call__(self, task: Any, seconds: float) -> Row:
        """Returns the handler's row, or {"error": sentence}. seconds: until the process is killed."""
        if self.process is None or not self.process.is_alive():
            self._start()
        assert self.channel is not None
        try:
            self.channel.send(task)
            if self.channel.poll(seconds):
                row = self.channel.recv()
                if any(sign in row.get("error", "") for sign in FATAL):
                    self.close()
                return row
            error = f"no answer after {seconds:.0f} s"
        except (EOFError, OSError):
            self.process.join(10)
            error = f"its process {ended(self.process.exitcode)}"
        self.close()
        return {"error": error}

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def _start(self) -> None:
        context = get_context("spawn")
        self.channel, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, self.make, self.argument), daemon=True)
        self.process.start()
        other.close()


def ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _serve(channel: Connection, make: Callable[[Any], Handler], argument: Any) -> None:
    """Answers tasks until nobody asks any more."""
    handler: Handler | None = None
    while True:
        try:
            task = channel.recv()
        except EOFError:
            return
        try:
            handler = handler or make(argument)
            row = handler(task)
        except Exception as error:  # record the error of one task, and do the others
            traceback.print_exc()
            row = {"error": f"{type(error).__name__}: {error}"[:600]}
        channel.send(row)
        gc.collect()
