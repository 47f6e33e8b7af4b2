"""Cache of decoded images: never wrong, never in the way."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ltrun.data import stores
from ltrun.data.cache import HEAD, MAGIC, Arrays, cached
from ltrun.data.stores import Resident


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counted() -> tuple[Callable[[], Arrays], list[int]]:
    calls: list[int] = []

    def make() -> Arrays:
        calls.append(1)
        return {"images": np.arange(300, dtype=np.uint8).reshape(3, 100), "reasons": np.array(["é", "b"])}

    return make, calls


def test_an_entry_is_made_once(folder: Path) -> None:
    make, calls = counted()
    first, again = cached(make, "a", 1), cached(make, "a", 1)
    assert len(calls) == 1
    assert all((first[name] == again[name]).all() and first[name].dtype == again[name].dtype for name in first)
    cached(make, "a", 2)
    assert len(calls) == 2


def test_an_entry_that_is_damaged_anywhere_is_made_again(folder: Path) -> None:
    make, calls = counted()
    right = make()
    cached(make, "k")
    entry = next(folder.iterdir())
    whole = entry.read_bytes()
    meaningful = [n for n in range(len(whole)) if whole[n]]  # the other bytes pad the pages
    assert len(meaningful) > 300
    damaged = [whole[:n] for n in range(0, meaningful[-1] + 1, 97)]
    damaged += [whole[:n] + bytes([whole[n] ^ 0x55]) + whole[n + 1 :] for n in meaningful]
    calls.clear()
    for content in damaged:
        entry.unlink()  # an entry that is mapped must not be cut short
        entry.write_bytes(content)
        read = cached(make, "k")
        assert all((right[name] == read[name]).all() for name in right)
    assert len(calls) == len(damaged)
    assert [path.suffix for path in folder.iterdir()] == [".arrays"]


@pytest.mark.parametrize("place", ["/proc/nowhere", "file"])
def test_with_an_unwritable_cache_images_are_decoded_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / place))
    make, calls = counted()
    assert cached(make, "k")["images"].shape == (3, 100)
    cached(make, "k")
    assert len(calls) == 2


def test_without_a_home_folder_images_are_still_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LTRUN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    make, calls = counted()
    cached(make, "k")
    assert len(calls) == 1


def test_an_entry_of_objects_is_not_loaded(folder: Path) -> None:
    make, calls = counted()
    cached(make, "k")
    entry = next(folder.iterdir())
    pages = entry.read_bytes()
    _, length, _ = HEAD.unpack_from(pages)
    described = json.loads(pages[HEAD.size : HEAD.size + length])
    described[0][1], described[0][2] = "|O", [8]
    head = json.dumps(described).encode()
    entry.unlink()
    entry.write_bytes(HEAD.pack(MAGIC, len(head), zlib.crc32(head)) + head + pages[HEAD.size + len(head) :])
    assert cached(make, "k")["images"].dtype == np.uint8
    assert len(calls) == 2


def test_arrays_are_mapped_and_private(folder: Path) -> None:
    make, _ = counted()
    arrays = cached(make, "k")
    assert str(next(folder.iterdir())) in Path("/proc/self/maps").read_text()
    arrays["images"][:] = 0
    assert cached(make, "k")["images"].any()


def test_a_reader_keeps_its_mapped_arrays_when_the_cache_is_deleted(folder: Path) -> None:
    make, _ = counted()
    arrays = cached(make, "k")
    next(folder.iterdir()).unlink()
    assert (arrays["images"] == make()["images"]).all()


def together(count: int, function: Callable[[], object]) -> None:
    """Runs the function in `count` processes at once."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=function) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_parallel_runs_make_an_entry_once(folder: Path, tmp_path: Path) -> None:
    make, _ = counted()

    def slow() -> Arrays:
        with (tmp_path / "calls").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        return make()

    def ask() -> None:
        assert (cached(slow, "k")["images"] == make()["images"]).all()

    together(6, ask)
    assert (tmp_path / "calls").read_text() == "x"
    assert len(list(folder.iterdir())) == 1


def test_without_locks_parallel_runs_leave_one_intact_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    make, _ = counted()
    together(6, lambda: cached(make, "k"))
    assert len(list(folder.iterdir())) == 1
    fresh, calls = counted()
    cached(fresh, "k")
    assert not calls


def test_a_process_killed_while_it_makes_an_entry_blocks_no_other(folder: Path) -> None:
    def die() -> Arrays:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    process = multiprocessing.get_context("fork").Process(target=cached, args=(die, "k"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    make, calls = counted()
    cached(make, "k")
    cached(make, "k")
    assert len(calls) == 1


def test_splits_on_a_cpu_share_one_copy() -> None:
    images, labels = np.arange(120, dtype=np.uint8).reshape(10, 3, 2, 2), np.arange(10)
    stores = [Resident.of(images, labels, rows, torch.device("cpu")) for rows in (np.array([5, 1, 7]), np.array([0, 2]))]
    assert all(np.shares_memory(store.pixels.numpy(), images) for store in stores)
    assert [store.images[:, 0, 0, 0].tolist() for store in stores] == [[60, 12, 84], [0, 24]]


@pytest.mark.parametrize("chunk", [1, 24, 30, 10**9])
def test_another_device_gets_a_copy_of_only_the_rows_of_the_split(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "CHUNK", chunk)
    images, rows = np.arange(120, dtype=np.uint8).reshape(10, 3, 2, 2), np.array([9, 1, 1, 4, 0])
    assert np.array_equal(stores._copied(images, rows, torch.device("cpu")).numpy(), images[rows])
    on_device = Resident.of(images, np.arange(10), rows, torch.device("meta"))
    assert (on_device.pixels.shape, on_device.index) == ((5, 3, 2, 2), None)


def test_a_store_has_the_same_strides_for_any_source() -> None:
    # Strides of grey images can pass for channels-last, whose convolutions round differently: a first, uncached run differed.
    grey = np.zeros((6, 8, 8), np.uint8)[:, None]
    store = Resident.of(grey, np.zeros(6, np.int64), np.arange(4), torch.device("cpu"))
    assert store.images.stride() == (64, 64, 8, 1)
    assert store.pixels.stride() == (64, 64, 8, 1)
