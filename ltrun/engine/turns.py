"""Several runs in one process, each in a thread, one of them at work at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor


class Turns:
    """A first-come, first-served lock. Whoever holds it also gets its own copy of torch's global state: the default
    generators and the TF32 flags. So every run computes what it computes alone, in any company.

    A GPU is fed that way: each run queues a step on a stream of its own and hands on, and the device works on the steps of
    all runs at once. Streams, gradient mode and autocast belong to threads already.
    """

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.taken = False
        self.waiting: deque[threading.Lock] = deque()
        self.last: Lane | None = None

    @contextmanager
    def taken_by_a_run(self) -> Iterator[None]:
        """Around all of a run, in its thread."""
        _thread.run = Lane(self)
        self.take(_thread.run)
        try:
            yield
        finally:
            _thread.run = None
            self.give()

    def take(self, run: Lane) -> None:
        ticket = threading.Lock()
        with self.guard:
            if self.taken:
                ticket.acquire()
                self.waiting.append(ticket)
            self.taken = True
        ticket.acquire()  # at once, or when it is given by the one before
        if self.last is not run:
            if self.last is not None:
                self.last.save()
            run.restore()
            self.last = run

    def give(self) -> None:
        with self.guard:
            self.taken = bool(self.waiting)
            if self.waiting:
                self.waiting.popleft().release()


class Lane:
    """One that takes turns, and its own values of what is global in torch while others are at work."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.host: Tensor | None = None
        self.devices: list[torch.Generator] = []
        self.flags = False, False

    def save(self) -> None:
        self.host = torch.get_rng_state()
        self.devices = [generator.graphsafe_get_state() for generator in generators()]
        with suppress(RuntimeError):  # a part has set them by torch's newer names: those that the run began with are kept
            self.flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def restore(self) -> None:
        """The first time, only the generators of devices become its own. Their states are handed over rather than copied: a
        captured graph goes on drawing from the one that it was captured with."""
        if self.host is not None:
            torch.set_rng_state(self.host)
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.flags
        for index, generator in enumerate(generators()):
            own = self.devices[index] if self.devices else generator.clone_state()
            generator.graphsafe_set_state(own)


def generators() -> tuple[torch.Generator, ...]:
    """The default ones of the CUDA devices, once they are in use."""
    return torch.cuda.default_generators if torch.cuda.is_initialized() else ()


class _Thread(threading.local):
    run: Lane | None = None


_thread = _Thread()


@contextmanager
def released() -> Iterator[None]:
    """Lets the other runs of this process work meanwhile. What is done here draws no random numbers from torch."""
    run = _thread.run
    if run is None:
        yield
        return
    run.turns.give()
    try:
        yield
    finally:
        run.turns.take(run)


def yield_turn() -> None:
    """Lets each of the other runs of this process take a step, if there are any."""
    if _thread.run is not None and _thread.run.turns.waiting:
        with released():
            pass


def wait_for_device(device: torch.device) -> None:
    """Lets the other runs of this process work until the device has done what this one has queued."""
    if _thread.run is not None and device.type == "cuda":
        done = torch.cuda.Event(blocking=True)  # else the thread would keep a core busy
        done.record()
        with released():
            done.synchronize()
