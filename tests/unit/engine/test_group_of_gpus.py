"""Group of ranks: what carries messages, and the end of a process after an error."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from ltrun.engine.group import backend, gpu_of
from tests.support.commands import environment

ENDLESS = """
import atexit, os, time
import torch.distributed as dist
from ltrun import cli

def endless(*_):
    time.sleep(600)

def looked(*args, **more):
    print(os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"], os.environ["TORCH_NCCL_RETHROW_CUDA_ERRORS"], flush=True)
    return join(*args, **more)

join, dist.init_process_group = dist.init_process_group, looked
dist.destroy_process_group = endless
atexit.register(endless)
cli.main()
"""
ENDED = """
from threading import Event
from types import SimpleNamespace
from ltrun.engine import group
from ltrun.engine.progress import Bar
from ltrun.metrics import SINGLE_LABEL, TASKS

group.UNWINDING = 0
Bar().start("a run", {"train": 3}, TASKS[SINGLE_LABEL][0])
group.Watch._end(SimpleNamespace(over=Event()), "rank 1 was killed")
"""


@pytest.mark.parametrize(
    ("gpus", "found"),
    [
        (("a", "b", "c"), "cpu:gloo,cuda:nccl"),
        (("a", "b", "b"), "gloo"),
        (("a", "", "b"), "gloo"),
        (("", "", ""), "gloo"),
    ],
)
def test_nccl_carries_messages_only_where_every_rank_has_a_gpu_of_its_own(gpus: tuple[str, ...], found: str) -> None:
    """All ranks choose the same, also if their machines have different numbers of GPUs: else they would wait for each other."""
    store = dist.HashStore()
    with ThreadPoolExecutor(len(gpus)) as pool:
        chosen = [pool.submit(backend, store, rank, len(gpus), gpu) for rank, gpu in enumerate(gpus)]
        assert [one.result(20) for one in chosen] == [found] * len(gpus)


@pytest.mark.parametrize(("count", "local", "found"), [(2, 1, "gpu1"), (2, 3, "gpu1"), (1, 5, "gpu0"), (0, 0, "")])
def test_the_gpu_of_a_rank(count: int, local: int, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"gpu{index}"))
    assert gpu_of(local) == found
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    assert gpu_of(local) == ""


@pytest.mark.slow
def test_ranks_end_after_an_error_although_the_libraries_of_a_gpu_would_wait_for_a_lost_rank(tmp_path: Path) -> None:
    """NCCL's own watch is off too: it would end a process before this one has written its checkpoint. Rank 1 fails alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    joint = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = [sys.executable, "-c", ENDLESS, "method=erm", "dataset=digits_lt", f"outputs={tmp_path}"]
    ranks = [
        subprocess.Popen(
            [*words, f"runtime.device={device}"],
            env=environment(RANK=rank, LOCAL_RANK=rank, **joint),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, device in (("0", "cpu"), ("1", "none"))
    ]
    try:
        told = [process.communicate(timeout=100) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [1, 1], told
    assert told[0][0].startswith("0 0\n") and "rank 1: runtime.device: 'none' is not a device" in told[0][1], told


def test_a_rank_that_is_ended_under_a_live_bar_says_why_and_leaves_the_terminal_its_cursor() -> None:
    """Its main thread waits for a message, and cannot stop the bar."""
    ours, theirs = pty.openpty()
    screen = environment(TERM="xterm") | {"CI": ""}
    ended = subprocess.Popen([sys.executable, "-c", ENDED], stdout=theirs, stderr=theirs, env=screen)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while some := os.read(ours, 4096):
            shown += some
    os.close(ours)
    assert ended.wait(60) == 1
    hidden, told, seen = (shown.rfind(text) for text in (b"\x1b[?25l", b"ltrun: rank 1 was killed; the same", b"\x1b[?25h"))
    assert 0 <= hidden < told < seen, shown
