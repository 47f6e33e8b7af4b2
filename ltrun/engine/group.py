"""Group of ranks: joins the processes that torchrun started, watches that each lives, and ends all if one is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist

from ltrun import streams
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.trainer import rescue_all
from ltrun.errors import ConfigError, LtrunError
from ltrun.machine import Lost, Terminated

NUMBERS = "RANK", "LOCAL_RANK", "MASTER_PORT"
NEEDED = *NUMBERS, "MASTER_ADDR"  # variables that torchrun sets beside WORLD_SIZE
JOINING = timedelta(minutes=10)  # until all ranks have started
PATIENCE = timedelta(days=7)  # for messages: ranks are found lost by their signs of life, and rank 0 may decode for hours
PULSE = 0.5  # seconds between two signs of life
SILENT = 20  # missing signs of life after which a rank is lost
SOON = 4  # missing signs of life after which a rank is lost, once a message has failed
UNWINDING = 5.0  # seconds that a process has to end by itself
SETTLING = 10.0  # seconds in which ranks fail together

OF_NCCL = "TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_RETHROW_CUDA_ERRORS"
"""Variables that, at 0, keep NCCL's own watch from ending a process before it has written its checkpoint and the reason."""

_joined: Watch | None = None


def ranks() -> Ranks:
    """Returns the ranks of this process; alone outside of `joined`."""
    return _joined.ranks if _joined is not None else ALONE


def settle(failure: str | None, leave: Callable[[], None]) -> None:
    """Raises Lost if a job failed on this rank, and not on every other. failure: why there is no result.

    leave: leaves the failure in the job's folder, for rank 0 or for the rank that fails alone.
    """
    if _joined is not None:
        _joined.settle(failure, leave)


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Joins the other ranks for the duration of a command, which rank 0 alone prints. Raises ConfigError, and Lost."""
    global _joined
    _check(environment)
    try:
        with _ended_by_signals():
            watch = _joined = Watch.of(environment)
    except (RuntimeError, ValueError, OSError) as error:
        place = f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
        raise ConfigError(f"MASTER_ADDR, MASTER_PORT: the ranks cannot meet at {place} ({_first_line(error)})") from None
    try:
        yield
        watch.ranks.meet()  # else a rank that ends early would pass for a lost one
    except BaseException as error:
        watch.leave(error)
        raise
    finally:
        watch.over.set()
        _joined = None
    with suppress(RuntimeError):  # not after an error: NCCL would wait for a lost rank
        dist.destroy_process_group()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the process at once: Python's handlers would wait until all ranks have started."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check(environment: Mapping[str, str]) -> None:
    """Raises ConfigError unless the variables describe a rank."""
    way_out = "start several ranks with torchrun, or unset WORLD_SIZE"
    world = environment["WORLD_SIZE"]
    if missing := [name for name in NEEDED if name not in environment]:
        raise ConfigError(f"WORLD_SIZE is {world}, but {', '.join(missing)} is not set: {way_out}")
    for name in (*NUMBERS, "LOCAL_WORLD_SIZE"):
        if not environment.get(name, "1").isdecimal():
            raise ConfigError(f"{name} is '{environment[name]}', where a number is needed: {way_out}")
    if int(environment["RANK"]) >= int(world):
        raise ConfigError(f"RANK is {environment['RANK']}, where WORLD_SIZE is {world}: {way_out}")


class Watch:
    """Signs of life of the ranks, in the store that all of them reach.

    A rank that fails leaves its reason there. Rank 0 looks for ranks that fall silent; the others look for rank 0. A thread of
    its own does so, and ends the process, because the main thread may wait for a message that never comes.
    """

    def __init__(self, store: dist.Store, rank: int, world: int, local: int) -> None:
        self.store, self.ranks = store, Ranks(rank, world, local, self.lost)
        self.over = threading.Event()
        self.jobs = 0
        threading.Thread(target=self._run, daemon=True).start()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Watch:
        """Joins the group."""
        host, port, local = environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), int(environment["LOCAL_RANK"])
        for name in OF_NCCL:
            os.environ.setdefault(name, "0")
        store, rank, world = next(iter(dist.rendezvous("env://", timeout=JOINING)))
        messages = backend(store, rank, world, gpu_of(local))  # waits until all ranks have started
        store.set_timeout(PATIENCE)
        dist.init_process_group(
            messages,
            store=dist.PrefixStore("messages", store),
            rank=rank,
            world_size=world,
            timeout=PATIENCE,
        )
        own = dist.TCPStore(host, port, is_master=False, wait_for_workers=False)  # the messages' client may be waiting
        return cls(dist.PrefixStore(f"watch {environment.get('TORCHELASTIC_RESTART_COUNT', '0')}", own), rank, world, local)

    # -------------------------------------------------------------------------------------------------- the main thread

    def lost(self, error: Exception) -> NoReturn:
        """Raises Lost with the reason why a message between the ranks failed."""
        raise Lost(self._reason() or self._say(f"a message between the ranks failed ({_first_line(error)})"))

    def settle(self, failure: str | None, leave: Callable[[], None]) -> None:
        """Raises Lost if a job failed here and not on every other rank within some seconds. leave: see the function."""
        self.jobs += 1
        names = [f"outcome {self.jobs} {rank}" for rank in range(self.ranks.world)]
        self.store.set(names[self.ranks.rank], failure or "")
        if failure is None:
            return
        end = time.monotonic() + SETTLING
        while not self.store.check(names) and time.monotonic() < end:
            time.sleep(0.1)
        alone = not self.store.check(names) or not all(self.store.get(name) for name in names)
        if alone or self.ranks.first:
            leave()
        if alone:
            raise Lost(self._say(f"rank {self.ranks.rank}: {failure}"))

    def leave(self, error: BaseException) -> None:
        """Tells the other ranks why this one ends. Raises Lost where SIGTERM follows the loss of another rank."""
        if isinstance(error, Lost):
            return
        if isinstance(error, Terminated) and (reason := self._reason()):
            raise Lost(reason) from None
        what = "was interrupted" if isinstance(error, KeyboardInterrupt) else f"ended: {error}"
        with suppress(RuntimeError):
            if isinstance(error, LtrunError):
                self._let_first_speak()
            self._say(f"rank {self.ranks.rank} {what}")
        if self.ranks.first:
            time.sleep(2 * PULSE)  # the store may end with this process, and the others read the reason there

    def _let_first_speak(self) -> None:
        """Waits some seconds for rank 0 to be refused as well, because it speaks, and torchrun ends all after the first."""
        if self.ranks.first:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it when another rank has ended
            self.store.set("refused", "")
        end = time.monotonic() + SETTLING
        while not self.store.check(["refused"]) and time.monotonic() < end:
            time.sleep(0.05)

    def _reason(self) -> str | None:
        """Returns the reason that a rank has given, or names the ranks that fall silent now; None if all live."""
        try:
            others = [rank for rank in range(self.ranks.world) if rank != self.ranks.rank]
            before = [self._pulse_of(rank) for rank in others]
            for _ in range(2 * SOON):
                if self.store.check(["reason"]):
                    return self.store.get("reason").decode()
                time.sleep(PULSE / 2)
            silent = [rank for rank, pulse in zip(others, before, strict=True) if self._pulse_of(rank) == pulse]
            return self._say(_gone(silent)) if silent else None
        except RuntimeError:
            return self._of_store()

    def _say(self, reason: str) -> str:
        """Leaves the reason for the other ranks, unless there is one, and returns it."""
        if reason == _gone([0]) and self.store.add("speakers", 1) == 1:
            streams.speak()
        return self.store.compare_set("reason", "", reason).decode()

    def _of_store(self) -> str:
        """Returns the reason if the store of all ranks does not answer."""
        if self.ranks.local == 0:
            streams.speak()
        return "the ranks lost the store that torchrun keeps for them: torchrun was killed, or its machine failed"

    def _pulse_of(self, rank: int) -> int:
        return self.store.add(f"pulse {rank}", 0)

    # --------------------------------------------------------------------------------------------------- its own thread

    def _run(self) -> None:
        watched = dict.fromkeys(range(1, self.ranks.world) if self.ranks.first else [0], (0, 0))
        while not self.over.wait(PULSE):
            if reason := self._look(watched):
                self._end(reason)

    def _look(self, watched: dict[int, tuple[int, int]]) -> str | None:
        """Gives a sign of life and looks for those of others. watched: rank -> its last pulse, and how often it was seen."""
        try:
            self.store.add(f"pulse {self.ranks.rank}", 1)
            for rank, (last, seen) in watched.items():
                pulse = self._pulse_of(rank)
                watched[rank] = pulse, seen + 1 if pulse == last else 0
            if self.store.check(["reason"]):
                return self.store.get("reason").decode()
            silent = [rank for rank, (_, seen) in watched.items() if seen >= SILENT]
            return self._say(_gone(silent)) if silent else None
        except RuntimeError:
            return self._of_store()

    def _end(self, reason: str) -> None:
        """Ends this process, unless its main thread does so in time."""
        if not self.over.wait(UNWINDING):
            rescue_all()
            print(f"ltrun: {reason}; the same command resumes from the last checkpoint", file=sys.stderr, flush=True)
            streams.show_cursor()
            os._exit(1)


def backend(store: dist.Store, rank: int, world: int, gpu: str) -> str:
    """Returns what carries messages, the same on all ranks: gloo for tensors of CPUs, NCCL for tensors of GPUs.

    gpu: identifier of the GPU of this rank. NCCL refuses ranks that share one, and ranks without one; gloo serves these.
    """
    store.set(f"gpu {rank}", gpu)
    gpus = {store.get(f"gpu {other}") for other in range(world)}
    return "cpu:gloo,cuda:nccl" if len(gpus) == world and b"" not in gpus else "gloo"


def gpu_of(local: int) -> str:
    """Returns the identifier of the GPU of this rank, which another rank may share; "" if NCCL cannot use it."""
    count = torch.cuda.device_count() if dist.is_nccl_available() else 0
    return str(torch.cuda.get_device_properties(local % count).uuid) if count else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _gone(silent: list[int]) -> str:
    names = " and ".join(f"rank {rank}" for rank in silent)
    return f"{names} gave no sign of life: the process was killed, or its machine failed"
