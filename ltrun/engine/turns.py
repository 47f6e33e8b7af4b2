"""Turns of several runs in one process: each run has a thread, and one run works at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor


class Turns:
    """A first-come, first-served lock. Whoever holds it also gets its own copy of torch's global state: the default
    generators, the TF32 flags and cuDNN's search. So a run computes the same results beside others as alone.

    Turns keep a GPU busy: each run queues a step on a CUDA stream of its own and yields its turn, and the device works on the
    steps of all runs at once. Streams, gradient mode and autocast belong to threads already.
    """

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.taken = False
        self.waiting: deque[threading.Lock] = deque()
        self.last: Lane | None = None
        self.searches = torch.backends.cudnn.benchmark  # as each run finds it

    @contextmanager
    def taken_by_a_run(self) -> Iterator[None]:
        """Wraps a whole run, in the run's thread: takes its first turn, and gives up its last."""
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
        ticket.acquire()  # at once, or when the run before gives its turn
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
    """A run that takes turns, and its copy of torch's global state while other runs work."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.host: Tensor | None = None
        self.devices: list[torch.Generator] = []
        self.flags = False, False
        self.searches = turns.searches

    def save(self) -> None:
        self.host = torch.get_rng_state()
        self.devices = [generator.graphsafe_get_state() for generator in generators()]
        self.searches = torch.backends.cudnn.benchmark
        with suppress(RuntimeError):  # a part set the flags by torch's newer names: keep the run's earlier flags
            self.flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def restore(self) -> None:
        """Sets torch's global state to the run's copy; the first time, of the devices' generators and cuDNN's search alone.
        States of device generators are handed over, not copied: a captured graph keeps drawing from the state of its capture.
        """
        if self.host is not None:
            torch.set_rng_state(self.host)
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.flags
        torch.backends.cudnn.benchmark = self.searches
        for index, generator in enumerate(generators()):
            own = self.devices[index] if self.devices else generator.clone_state()
            generator.graphsafe_set_state(own)


def generators() -> tuple[torch.Generator, ...]:
    """Returns the default generators of the CUDA devices, once CUDA is in use."""
    return torch.cuda.default_generators if torch.cuda.is_initialized() else ()


class _Thread(threading.local):
    run: Lane | None = None


_thread = _Thread()


@contextmanager
def released() -> Iterator[None]:
    """Lets other runs of this process work during the block, which must draw no random numbers from torch."""
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
    """Lets the other runs of this process work until the device has finished the work that this run has queued."""
    if _thread.run is not None and device.type == "cuda":
        done = torch.cuda.Event(blocking=True)  # blocking: a spinning wait would keep a core busy
        done.record()
        with released():
            done.synchronize()
