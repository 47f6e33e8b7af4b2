"""Fork server: the process from which the processes of a sweep are forked."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from ltrun.machine import shorten_sockets

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["torch", "ltrun.engine.run"]  # modules that the server imports once for all processes
SERVER = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # the server must not import modules from the current folder


def has_cuda() -> bool:
    """Whether a GPU is available. Asks a new process, because neither this one nor the fork server may initialise CUDA."""
    return bool(answer_of(_tell_cuda))


def answer_of(tell: Callable[[Connection], None]) -> Any:
    """Returns what a function sends when a new process calls it with a channel; None if that process dies."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    start_server()
    process = CONTEXT.Process(target=tell, args=(theirs,))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return None
    finally:
        process.join()


def _tell_cuda(channel: Connection) -> None:
    import torch

    with suppress(OSError):
        channel.send(torch.cuda.is_available())


def start_server() -> None:
    """Starts the server, and does not wait for its imports. Raises OSError if no socket can be made."""
    shorten_sockets()
    CONTEXT.set_forkserver_preload(PRELOADED)
    with _environment(SERVER):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the process that started the sweep
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)


@contextmanager
def _environment(names: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(names)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
