"""Streamed stores: the batches of a resident store, decoded during training by worker processes that are kept."""

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data._utils import worker as of_torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ltrun.data import ImageFolder, Resident, Splits, Streamed
from ltrun.data import photos as photos_module
from ltrun.data.decoding import Decoding
from ltrun.data.inputs import decoded
from ltrun.data.stores import Store
from ltrun.errors import ConfigError, DataError
from ltrun.machine import free_memory
from ltrun.types import Batch
from tests.support.data_fakes import class_folders, encoded, random_images
from tests.support.narrow import of_type, present

CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    class_folders(tmp_path / "photos", {"ant": 20, "bee": 12, "cat": 5}, size=24)
    for k, pixels in enumerate(random_images(6, 40, seed=9)):
        (tmp_path / "photos" / "bee" / f"{k:04}.jpg").write_bytes(encoded(pixels[: 30 + k], "JPEG"))
    return tmp_path / "photos"


def opened(photos: Path, streamed: bool, **more: object) -> Splits:
    return ImageFolder(str(photos), image_size=16, streamed=streamed, workers=2, **more).open(CPU)  # type: ignore[arg-type]


def plan(store: Store, seed: int, size: int = 8) -> list[Tensor]:
    return list(torch.randperm(len(store), generator=torch.Generator().manual_seed(seed)).split(size))


def equal(first: Batch, second: Batch) -> bool:
    assert first.inputs.stride() == second.inputs.stride()
    tensors = [(batch.inputs, batch.rows, *batch.targets.tensors()) for batch in (first, second)]
    return all(map(torch.equal, *tensors))


def processes(store: Store) -> set[int]:
    """Returns the ids of the processes that decode for this store and wait for an epoch."""
    assert isinstance(store, Streamed)
    return {
        present(worker.pid)
        for loader in store.decoders.idle
        for worker in of_type(_MultiProcessingDataLoaderIter, loader._iterator)._workers
    }


def refused(store: Store) -> str:
    """Returns the message of a DataError. pytest.raises would keep the traceback, and with it the processes."""
    try:
        list(store.open(plan(store, 0)))
    except DataError as error:
        return str(error)
    raise AssertionError("not refused")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_streamed_store_yields_the_batches_of_a_resident_store(photos: Path, workers: int) -> None:
    resident = opened(photos, False)
    streamed = ImageFolder(str(photos), image_size=16, streamed=True, workers=workers).open(CPU)
    assert (type(resident.train), type(streamed.train)) == (Resident, Streamed)
    assert streamed.stats.counts.tolist() == resident.stats.counts.tolist()
    for first, second in ((resident.train, streamed.train), (resident.test, streamed.test)):
        assert all(equal(*pair) for pair in zip(first.open(plan(first, 0)), second.open(plan(first, 0)), strict=True))
    assert list(streamed.train.open([])) == []


def test_parallel_streams_and_abandoned_epochs_yield_the_batches_of_a_resident_store(photos: Path) -> None:
    one, other = opened(photos, False).train, opened(photos, True).train
    state, seen = torch.get_rng_state(), set()
    for epoch in range(4):
        plans = [plan(one, 10 * epoch + stream) for stream in range(2)]
        drawn = zip(zip(*map(one.open, plans), strict=True), zip(*map(other.open, plans), strict=True), strict=True)
        for step, (wanted, got) in enumerate(drawn):
            assert all(map(equal, wanted, got))
            if epoch == 1 and step == 1:
                break
        del drawn
        seen |= processes(other)
    assert len(seen) == 4, "two processes per stream, each started once"
    assert torch.equal(state, torch.get_rng_state()), "training must not depend on the kind of store"


def test_splits_share_the_processes(photos: Path) -> None:
    splits = opened(photos, True)
    for store in (splits.train, splits.test):
        assert len(list(store.open(plan(store, 0)))) > 0
    assert len(processes(splits.test)) == 2


def test_an_unreadable_file_is_named_when_a_batch_asks_for_it(photos: Path) -> None:
    path = photos / "ant" / "0003.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    train = opened(photos, True, test_fraction=0.01).train
    sentence = refused(train)
    assert str(path) in sentence
    assert "\n" not in sentence
    assert "skip_unreadable=true" in sentence
    path.write_bytes(whole)
    assert len(list(train.open(plan(train, 0)))) == len(plan(train, 0))


def test_both_kinds_of_store_leave_out_the_same_unreadable_images(photos: Path) -> None:
    (photos / "ant" / "0003.png").write_bytes(b"")
    (photos / "bee" / "0001.jpg").write_bytes(b"no image")
    resident, streamed = (opened(photos, kind, skip_unreadable=True) for kind in (False, True))
    assert resident.skipped == streamed.skipped == 2
    for one, other in ((resident.train, streamed.train), (resident.test, streamed.test)):
        assert all(map(equal, one.open(plan(one, 0)), other.open(plan(one, 0))))


def test_killed_workers_are_reported_in_a_sentence_and_replaced(photos: Path) -> None:
    train = opened(photos, True).train
    list(train.open(plan(train, 0)))
    killed = processes(train)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert "dataset.workers=2" in refused(train)
    assert len(list(train.open(plan(train, 1)))) == len(plan(train, 1))
    assert not processes(train) & killed


def test_full_shared_memory_is_a_sentence_and_not_an_endless_wait(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(Tensor, "share_memory_", full)
    sentence = refused(opened(photos, True).train)
    assert sentence.startswith("/dev/shm has no room") and "dataset.workers=2" in sentence and "\n" not in sentence
    with pytest.raises(DataError, match="give fewer than --workers 2, "):
        list(decoded(sorted(photos.rglob("*.png")), Decoding(16), 3, 4, workers=2))


def test_workers_end_when_their_parent_is_killed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_torch, "MP_STATUS_CHECK_INTERVAL", 300.0)  # seconds after which DataLoader itself ends them
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def read_and_die() -> None:
        train = opened(photos, True).train
        streams = [train.open(plan(train, seed)) for seed in range(2)]
        for stream in streams:
            next(stream)
        theirs.send([worker.pid for worker in multiprocessing.active_children()])
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=read_and_die)
    process.start()
    workers = ours.recv()
    process.join()
    assert len(workers) == 4
    deadline = time.monotonic() + 100
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Returns whether a process runs. A zombie does not: only the machine's first process can reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("free", "kind"), [(10**12, Resident), (10**4, Streamed)])
def test_images_that_exceed_the_free_memory_are_streamed(
    photos: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: type
) -> None:
    monkeypatch.setattr(photos_module, "free_memory", lambda: free)
    assert type(ImageFolder(str(photos), image_size=16).open(CPU).train) is kind


def test_free_memory_respects_the_limit_of_a_container(tmp_path: Path) -> None:
    machine = tmp_path / "meminfo"
    assert free_memory(tmp_path, machine) > 10**8, "without /proc/meminfo all memory counts as free"
    machine.write_text("MemTotal: 80 kB\nMemAvailable:   20 kB\n")
    assert free_memory(tmp_path, machine) == 20 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000\n")
    assert free_memory(tmp_path, machine) == 20 * 1024
    (tmp_path / "memory.max").write_text("9000\n")
    assert free_memory(tmp_path, machine) == 4000
    (tmp_path / "memory.current").write_text("9500\n")
    assert free_memory(tmp_path, machine) == 0


@pytest.mark.parametrize("workers", [-1, 257])
def test_a_number_of_workers_that_no_machine_can_start_is_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match="workers must be from 0 to 256"):
        ImageFolder("x", workers=workers)


def test_more_workers_than_cores_print_no_warning_of_torch(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    train = opened(photos, streamed=True).train
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(next(iter(train.open(plan(train, 0)))).inputs) == 8


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """A store that is deleted must end its processes."""
    yield
    assert not multiprocessing.active_children()
