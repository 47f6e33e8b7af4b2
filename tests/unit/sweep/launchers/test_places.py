"""Places on GPUs: no two jobs of a user share one, whatever command they come from, and a killed job frees its own."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltrun.errors import ConfigError
from ltrun.sweep.launchers.places import Place, folder_of_locks, occupy, places_of

GPUS = [("2", "GPU-a"), ("0", "GPU-b"), ("1", "GPU-c")]
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield


def test_each_gpu_has_a_first_job_before_any_has_a_second() -> None:
    found = places_of(GPUS, 2)
    assert [place.visible for place in found] == ["2", "0", "1", "2", "0", "1"]
    assert len({place.lock for place in found}) == 6
    assert {place.lock for place in places_of([("0", "GPU-a")], 2)} <= {place.lock for place in found}, "another numbering"


def short_job(log: Path, places: list[Place]) -> None:
    place = occupy(folder_of_locks(), places)
    begun = time.monotonic()
    time.sleep(0.01)
    with log.open("a") as file:
        file.write(f"{place.lock} {os.environ['CUDA_VISIBLE_DEVICES']} {begun} {time.monotonic()}\n")


def terminal(log: Path, jobs: int, places: list[Place]) -> None:
    """A command whose jobs all wait at once."""
    started = [FORK.Process(target=short_job, args=(log, places)) for _ in range(jobs)]
    for job in started:
        job.start()
    for job in started:
        job.join()


def test_sixty_jobs_of_two_terminals_never_overlap(tmp_path: Path) -> None:
    log, places = tmp_path / "log", places_of(GPUS, 1)
    terminals = [FORK.Process(target=terminal, args=(log, 30, places)) for _ in range(2)]
    for one in terminals:
        one.start()
    for one in terminals:
        one.join()
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == 60 and {lock for lock, *_ in lines} == {place.lock for place in places}
    assert all(Place(visible, lock) in places for lock, visible, *_ in lines), "each job sees the GPU of its place alone"
    for place in places:
        times = sorted((float(begun), float(ended)) for lock, _, begun, ended in lines if lock == place.lock)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))


def test_a_killed_job_frees_its_place_at_once(tmp_path: Path) -> None:
    (place,) = places_of(GPUS[:1], 1)
    ready = FORK.Event()

    def hold() -> None:
        occupy(folder_of_locks(), [place])
        ready.set()
        time.sleep(60)

    holder = FORK.Process(target=hold)
    holder.start()
    assert ready.wait(20) and holder.pid is not None
    log = tmp_path / "log"
    waiting = FORK.Process(target=short_job, args=(log, [place]))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive() and not log.exists()
    os.kill(holder.pid, signal.SIGKILL)
    waiting.join(20)
    assert waiting.exitcode == 0 and log.read_text().startswith(place.lock)
    holder.join()


def test_a_folder_of_locks_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    folder = folder_of_locks()
    assert folder.stat().st_mode & 0o077 == 0, "nobody else may hold the locks"
    (folder / "probe").unlink()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"belongs to somebody else, .*TMPDIR=DIR"):
        folder_of_locks()
    folder.unlink()
    folder.write_text("")
    with pytest.raises(ConfigError, match="cannot be shared by file locks"):
        folder_of_locks()


def test_a_file_system_without_locks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refused)
    with pytest.raises(ConfigError, match=r"cannot be shared by file locks in .* .Operation not supported.: give another"):
        folder_of_locks()
