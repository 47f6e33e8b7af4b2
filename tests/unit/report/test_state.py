"""State of runs, read from their folders: while other processes write, without file locks, and for foreign folders."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from ltrun.report.state import State, states
from ltrun.results.address import LOCK
from ltrun.results.folder import locked
from tests.support.recorded import record

STAGES = {"train": 4, "classifier": 2}
SAID: dict[str, Any] = {"title": "crt on digits_lt, seed 0", "stages": STAGES}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Returns the folder of a run, at its address."""
    folder = tmp_path / "outputs" / "digits_lt" / "crt" / "01234567" / "seed0"
    folder.mkdir(parents=True)
    return folder


def write_epochs(folder: Path, *epochs: tuple[str, int], seconds: float = 10.0, pause: float = 20.0) -> None:
    """Writes lines of epochs, `pause` seconds apart, the last of them now."""
    now = time.time()
    rows = [
        {"stage": stage, "epoch": epoch, "epochs": STAGES[stage], "seconds": seconds, "time": now - pause * (len(epochs) - n)}
        for n, (stage, epoch) in enumerate(epochs, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def state_of(folder: Path) -> State:
    ((state,), problems) = states([folder])
    assert problems == []
    return state


def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def sign(folder: Path, **said: Any) -> None:
    (folder / LOCK).write_text(json.dumps({**SAID, "process": os.getpid(), "machine": gethostname(), **said}))


def test_a_run_under_way_has_its_epochs_of_all_stages_and_the_time_left(run: Path) -> None:
    with locked(run, SAID):
        assert state_of(run) == State(run, "running", SAID["title"], 0, 6), "it opens its data"
        write_epochs(run, ("train", 3), ("train", 4), ("classifier", 1))
        state = state_of(run)
    assert (state.state, state.epoch, state.epochs, state.reason) == ("running", 5, 6, "")
    assert state.left == pytest.approx(20, abs=2), "an epoch takes 20 seconds with its evaluation"
    assert state_of(run).state == "unfinished" and state_of(run).left is None


@pytest.mark.parametrize("times", [(100, 90, 80, 110, 120), (1, 1e9, 1e9 + 20, 1e9 + 40), ("x", None, 3, 23)], ids=str)
def test_a_clock_that_was_set_makes_no_negative_time(times: tuple[Any, ...], run: Path) -> None:
    rows = [{"stage": "train", "epoch": 1, "epochs": 4, "seconds": 10.0, "time": value} for value in times]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with locked(run, SAID):
        left = state_of(run).left
    assert left is not None and 40 <= left <= 100


def test_a_file_from_the_future_does_not_shorten_the_time_left(run: Path) -> None:
    write_epochs(run, ("train", 1), ("train", 2))
    os.utime(run / "metrics.jsonl", (time.time() + 9000,) * 2)
    with locked(run, SAID):
        assert state_of(run).left == pytest.approx(80, abs=2)


def test_a_failed_run_has_the_first_line_of_its_reason_unless_it_is_trained_again(run: Path) -> None:
    (run / "error.log").write_bytes("the loss is not finite – lower it\nTraceback".encode())
    state = state_of(run)
    assert (state.state, state.reason) == ("failed", "the loss is not finite – lower it")
    assert state.title == "crt (01234567) on digits_lt, seed 0", "all that the folder says"
    with locked(run, SAID):
        assert state_of(run).state == "running"


def test_a_finished_run_has_the_state_of_its_record(run: Path) -> None:
    record("crt").save(run)
    state = state_of(run)
    assert state.state == "done" and state.epoch == state.epochs and state.title.startswith("crt on ")
    (run / "error.log").write_text("no such device\n")
    assert state_of(run).reason == "done before; force=true was refused: no such device"


def test_a_damaged_result_has_failed_and_one_of_a_later_version_is_done(run: Path) -> None:
    (run / "result.json").write_text("{")
    assert state_of(run).state == "failed" and "is damaged" in state_of(run).reason
    (run / "result.json").write_text(json.dumps({"format": 999}))
    assert state_of(run).state == "done" and "a later version of ltrun" in state_of(run).reason


def test_a_run_that_waits_for_its_turn_has_the_title_of_its_job(run: Path) -> None:
    """Whatever machine queued it: neither a process nor a host is looked for."""
    job = {"method": "crt", "changes": {"epochs": 7}, "dataset": "digits_lt", "config": {"seed": 0}}
    (run / "job.json").write_text(json.dumps(job))
    assert state_of(run) == State(run, "waiting", "crt [epochs=7] on digits_lt, seed 0")
    (run / "error.log").write_text("no data\n")
    assert state_of(run).state == "failed"
    (run / "error.log").unlink()
    with locked(run, {"title": "crt", "stages": {"train": 7}}):
        assert state_of(run).state == "running"
    assert state_of(run).state == "unfinished", "it began, and was ended before its first epoch"


@pytest.mark.parametrize("lines", [b"", b"\xff\0\n", b"[1]\n{}\nnull\n", b'{"stage": 1, "epoch": "x"}\n', b"[" * 30_000])
def test_damaged_lines_are_no_epochs(lines: bytes, run: Path) -> None:
    (run / "metrics.jsonl").write_bytes(lines)
    for said in (b"", b"{", b'{"title": 1, "stages": {"train": "x"}}', b'{"stages": [1]}'):
        (run / LOCK).write_bytes(said)
        assert state_of(run) == State(run, "unfinished", "crt (01234567) on digits_lt, seed 0")


def test_only_the_end_of_a_long_history_is_read(run: Path) -> None:
    row = {"stage": "train", "epochs": 4, "seconds": 1.0, "losses": {"a": 0.123456789}}
    (run / "metrics.jsonl").write_text("".join(json.dumps({"epoch": 3, **row}) + "\n" for _ in range(5000)) + '{"stage": "tr')
    (run / LOCK).write_text(json.dumps(SAID))
    assert state_of(run).epoch == 3


def test_foreign_folders_are_named_and_not_counted(tmp_path: Path) -> None:
    for name, file in (("a", "metrics.jsonl"), ("b", "result.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text('{"step": 1}\n')
    (tmp_path / "loop").symlink_to(tmp_path)
    found, problems = states([tmp_path])
    assert found == [] and sorted(problem.path.name for problem in problems) == ["a", "b"]
    assert all(problem.text.endswith("is not from a run of ltrun") for problem in problems)


# ------------------------------------------------------------------------------------------- file systems without locks


def ended() -> int:
    """Returns the number of a process that has ended."""
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
    ("said", "age", "state"),
    [
        ({}, 9999, "running"),  # its process exists, however slow it is
        ({"machine": "elsewhere"}, 0, "running"),
        ({"machine": "elsewhere"}, 9999, "unfinished"),
        ({"process": None}, 0, "running"),
        ({"process": None}, 9999, "unfinished"),
    ],
    ids=str,
)
def test_without_locks_a_run_lives_with_its_process_or_recent_files(
    said: Mapping[str, Any], age: float, state: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_locks(monkeypatch)
    sign(run, **said)
    write_epochs(run, ("train", 1), ("train", 2))
    for file in run.iterdir():
        os.utime(file, (time.time() - age,) * 2)
    assert state_of(run).state == state


def test_without_locks_a_run_ends_with_its_process(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_locks(monkeypatch)
    write_epochs(run, ("train", 1))
    sign(run, process=ended())
    assert state_of(run).state == "unfinished"
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        time.sleep(0.5)  # a zombie: it has ended, and its parent has not waited for it
        sign(run, process=zombie.pid)
        assert state_of(run).state == "unfinished"


def test_a_run_refused_before_it_began_has_no_state(run: Path) -> None:
    with locked(run, SAID):
        pass
    assert states([run]) == ([], [])
