"""Group of ranks: variables that describe no rank, signs of life, a job that fails on one rank alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch.distributed as dist

from ltrun import streams
from ltrun.engine import group
from ltrun.engine.distributed import ALONE
from ltrun.engine.group import Watch, joined, ranks, settle
from ltrun.errors import ConfigError
from ltrun.machine import Lost, Terminated, processes
from tests.support.commands import environment

RANK = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "2"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"RANK": None}, "WORLD_SIZE is 2, but RANK is not set: start several ranks with torchrun, or unset WORLD_SIZE"),
        ({"RANK": None, "MASTER_ADDR": None}, "WORLD_SIZE is 2, but RANK, MASTER_ADDR is not set: "),
        ({"RANK": "one"}, "RANK is 'one', where a number is needed: "),
        ({"LOCAL_WORLD_SIZE": "-2"}, "LOCAL_WORLD_SIZE is '-2', where a number is needed: "),
        ({"RANK": "2"}, "RANK is 2, where WORLD_SIZE is 2: "),
        ({"MASTER_PORT": "70000"}, "MASTER_ADDR, MASTER_PORT: the ranks cannot meet at localhost:70000 ("),
    ],
)
def test_variables_that_describe_no_rank_are_refused(changes: dict[str, str | None], told: str) -> None:
    given = {name: value for name, value in (RANK | changes).items() if value is not None}
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ConfigError) as refusal, pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        with joined(given):
            pass
    assert str(refusal.value).startswith(told)
    assert signal.getsignal(signal.SIGINT) is handler and ranks() is ALONE


@pytest.mark.parametrize(("given", "number"), [("1", 1), ("0", 1), ("", 1), ("many", 1), ("-3", 1), ("4", 4)])
def test_the_number_of_processes(given: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", given)
    assert processes() == number


def test_a_rank_that_waits_for_the_others_ends_at_once_when_it_is_terminated() -> None:
    command = [sys.executable, "-m", "ltrun", "method=erm", "dataset=digits_lt"]
    alone = environment(**RANK | {"RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "0"})
    with subprocess.Popen(command, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not listens(process.pid) and process.poll() is None:
                time.sleep(0.1)
            process.terminate()
            assert process.wait(20) == -signal.SIGTERM
        finally:
            process.kill()


def listens(process: int) -> bool:
    with suppress(OSError):  # a file that was closed meanwhile
        return any(str(path.readlink()).startswith("socket:") for path in Path(f"/proc/{process}/fd").iterdir())
    return False


# --------------------------------------------------------------------------------------------------- signs of life

Watches = Callable[..., list[Watch]]


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Watches:
    """Returns a function that makes the watches of a few ranks in this process, without threads: tests call `_look`."""
    for name, value in {"PULSE": 0.02, "SETTLING": 0.3}.items():
        monkeypatch.setattr(group, name, value)
    monkeypatch.setattr(Watch, "_run", lambda self: None)

    def made(world: int) -> list[Watch]:
        store = dist.HashStore()
        return [Watch(store, rank, world, rank) for rank in range(world)]

    return made


def looks(watch: Watch, times: int) -> str | None:
    watched = dict.fromkeys(range(1, watch.ranks.world) if watch.ranks.first else [0], (0, 0))
    return next(filter(None, (watch._look(watched) for _ in range(times))), None)


def test_a_rank_that_falls_silent_is_named(watches: Watches) -> None:
    first, second, _ = watches(3)
    watched = dict.fromkeys([1, 2], (0, 0))
    found = []
    for _ in range(group.SILENT + 2):
        second._look({0: (0, 0)})
        found.append(first._look(watched))
    assert found[-1] == "rank 2 gave no sign of life: the process was killed, or its machine failed"
    assert found.index(found[-1]) == group.SILENT - 1
    assert looks(second, 1) == found[-1]


def test_one_rank_alone_speaks_for_a_lost_rank_0(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken: list[int] = []
    monkeypatch.setattr(streams, "speak", lambda: spoken.append(1))
    _, second, third = watches(3)
    told = [looks(watch, group.SILENT + 2) for watch in (second, third)]
    assert told == ["rank 0 gave no sign of life: the process was killed, or its machine failed"] * 2
    assert spoken == [1]


def test_a_failed_message_is_explained_by_a_reason_or_by_silence(watches: Watches) -> None:
    first, second = watches(2)
    with pytest.raises(Lost, match=r"^rank 1 gave no sign of life: "):
        first.lost(RuntimeError("Connection closed by peer\n#0 frame"))
    with pytest.raises(Lost, match=r"^rank 1 gave no sign of life: "):  # the first reason stands
        second.lost(RuntimeError("Connection closed by peer"))


def test_a_terminated_rank_tells_the_reason_that_another_left(watches: Watches) -> None:
    first, second = watches(2)
    second.leave(KeyboardInterrupt())
    with pytest.raises(Lost, match=r"^rank 1 was interrupted$"):
        first.leave(Terminated())


def test_a_refused_rank_waits_until_rank_0_is_refused_as_well(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    first, second = watches(2)
    begun = time.monotonic()
    second.leave(ConfigError("no such key"))
    assert time.monotonic() - begun >= 0.3  # rank 0 has not been refused
    try:
        first.leave(ConfigError("no such key"))
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # torchrun would end it before it has spoken
    finally:
        signal.signal(signal.SIGTERM, handler)
    monkeypatch.setattr(group, "SETTLING", 100.0)
    begun = time.monotonic()
    second.leave(ConfigError("no such key"))
    assert time.monotonic() - begun < 100


def test_a_job_that_fails_on_every_rank_is_left_by_rank_0(watches: Watches) -> None:
    first, second = watches(2)
    left: list[int] = []
    second.store.set("outcome 1 0", "refused")
    second.settle("refused", lambda: left.append(1))
    first.settle("refused", lambda: left.append(0))
    assert left == [0]
    for watch in (first, second):
        watch.settle(None, lambda: left.append(2))
    assert left == [0]


def test_a_job_that_fails_on_one_rank_is_left_by_that_rank_and_ends_all(watches: Watches) -> None:
    first, second = watches(2)
    left: list[int] = []
    first.settle(None, lambda: left.append(0))
    with pytest.raises(Lost, match=r"^rank 1: out of memory$"):
        second.settle("out of memory", lambda: left.append(1))
    assert left == [1]
    assert looks(first, 1) == "rank 1: out of memory"


def test_without_other_ranks_nothing_settles() -> None:
    settle("refused", lambda: pytest.fail("left by `together.settle`"))
