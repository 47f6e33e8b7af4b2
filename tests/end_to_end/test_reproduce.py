"""The reproduction script: it stops in time or on a signal, and resumes without training anything twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reproduction.records import Records

from tests.support.tree import ROOT


def reproduce(folder: Path, *words: str) -> subprocess.Popen[str]:
    fixed = [
        "--data",
        "data",
        "--into",
        "into",
        "--methods",
        "erm ldam_drw",
        "--device",
        "cpu",
        "--nice",
        "0",
        "dataset=digits_lt",
    ]
    command = [sys.executable, str(ROOT / "benchmarks" / "reproduce.py"), *fixed, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


def training(process: subprocess.Popen[str]) -> int:
    """The id of the training process, read from the output."""
    assert process.stdout
    for line in process.stdout:
        if found := re.search(r"this is process (\d+)", line):
            return int(found[1])
    raise AssertionError("the script ended before it trained")


def epochs(folder: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in folder.rglob("metrics.jsonl"))


@pytest.mark.slow
def test_the_reproduction_resumes_after_a_kill_and_trains_nothing_twice(tmp_path: Path) -> None:
    words = ["--seeds", "0", "epochs=16", "evaluation.every=8", "runtime.checkpoint_seconds=0"]
    killed = reproduce(tmp_path, *words)
    trains = training(killed)
    while epochs(tmp_path) < 2:
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.05)
    os.kill(trains, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == 128 + signal.SIGKILL
    assert not (tmp_path / "into" / "reproduction.json").exists()
    out = said(reproduce(tmp_path, *words))
    assert "2 trainings are missing" in out and "2 of 2 trainings are done" in out
    assert epochs(tmp_path) == 32, "epochs before the kill must not be trained again"
    assert [run.stages[0]["epochs"] for run in Records(tmp_path / "into" / "reproduction.json").runs()] == [16, 16]
    assert "| erm | " in (tmp_path / "into" / "reproduction.md").read_text()
    assert (tmp_path / "into" / "methods.md").read_text().count("<br>`erm` |") == 1, "methods.md comes from the same records"


@pytest.mark.slow
def test_trainings_yield_to_other_sessions(tmp_path: Path) -> None:
    waits = reproduce(tmp_path, "--seeds", "0", "epochs=4000", "--nice", "19")
    trains = training(waits)
    assert os.getpriority(os.PRIO_PROCESS, trains) == 19
    if (group := Path(f"/proc/{trains}/autogroup")).exists():
        assert group.read_text().endswith("nice 19\n") and group.read_text() != Path("/proc/self/autogroup").read_text()
    os.kill(trains, signal.SIGKILL)
    waits.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_training_ends_with_the_process_that_waits_for_it(tmp_path: Path, number: int) -> None:
    waits = reproduce(tmp_path, "--seeds", "0", "epochs=4000")
    training(waits)
    waits.send_signal(number)
    out, _ = waits.communicate(timeout=60)  # returns once all processes have closed the pipe
    assert waits.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "the same command resumes" in out


@pytest.mark.slow
def test_the_reproduction_stops_in_time_and_resumes_elsewhere_from_its_records_alone(tmp_path: Path) -> None:
    out = said(reproduce(tmp_path, "--seeds", "0", "--time", "1", "epochs=2"))
    assert "the same command trains the rest" in out
    assert "2 of 2 trainings are done" in said(reproduce(tmp_path, "--seeds", "0", "epochs=2"))
    (tmp_path / "outputs").rename(tmp_path / "of_another_machine")
    out = said(reproduce(tmp_path, "--seeds", "0 1", "epochs=2"))
    assert "2 trainings are missing" in out and "2 of 2 trainings are done" in out
    taken = said(reproduce(tmp_path, "--take", "of_another_machine", "outputs"))
    assert "4 runs: 0 are new, 0 are of other" in taken
