"""The process that those of a sweep are forked from."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection

from ltrun.machine import shorten_sockets

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["torch", "ltrun.engine.run"]  # imported once, by the server that the processes of a sweep are forked from
SERVER = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # the server must not import what lies in the current folder


def has_cuda() -> bool:
    """Asked of a process of its own, because neither this one nor the server that others are forked from may touch CUDA."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    start_server()
    process = CONTEXT.Process(target=_tell_cuda, args=(theirs,))
    process.start()
    theirs.close()
    try:
        return bool(ours.recv())
    except EOFError:
        return False
    finally:
        process.join()


def _tell_cuda(channel: Connection) -> None:
    import torch

    with suppress(OSError):
        channel.send(torch.cuda.is_available())


def start_server() -> None:
    """Begins to import what the processes need, and does not wait for it. Raises OSError where no socket can be made."""
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
