"""Packed sweeps: jobs at once equal jobs alone, a killed job fails alone, no process is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.commands import PROGRAM, SHORT, Run, environment

LONG = ("dataset=digits_lt", "epochs=40", "evaluation.every=40", "runtime.pack=2")


@pytest.mark.slow
def test_jobs_at_once_equal_jobs_alone_bit_for_bit(ltrun: Run, tmp_path: Path) -> None:
    choices = ("-m", "method=cmo,crt", "seed=0", *SHORT)
    alone, packed = tmp_path / "alone", tmp_path / "packed"
    one = ltrun(*choices, f"outputs={alone}", "runtime.pack=1", "runtime.threads=1")
    two = ltrun(*choices, f"outputs={packed}", "runtime.pack=2")
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    results = sorted(path.relative_to(alone) for path in alone.rglob("result.json"))
    assert len(results) == 2
    assert results == sorted(path.relative_to(packed) for path in packed.rglob("result.json"))
    for result in results:
        first, second = (json.loads((root / result).read_text()) for root in (alone, packed))
        assert first["predictors"] == second["predictors"]
        assert second["provenance"]["threads"] == 1
        scores = [(root / result).with_name("predictions.npz").read_bytes() for root in (alone, packed)]
        assert scores[0] == scores[1]
        states = [
            torch.load(next((root / result).parent.glob("*.pt")), weights_only=True)["module"] for root in (alone, packed)
        ]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert "train 1/3" in one.stdout
    assert "train 1/" not in two.stdout, "jobs at once print one line each, at their end"
    for line in ("1/2 ", "2/2 ", "crt [epochs=3, evaluation.every=2] on digits_lt, seed 0 | all "):
        assert line in two.stdout


SHARED = (
    "import sys, ltrun.sweep.jobs as sweep; from ltrun.cli import dispatch\n"
    "sweep.at_once_of = lambda job, jobs: ({size}, {size})  # as on a GPU\n"
    "sys.exit(dispatch({command!r}))"
)


def in_one_process(tmp_path: Path, size: int, *command: str) -> subprocess.CompletedProcess[str]:
    script = SHARED.format(size=size, command=list(command))
    return subprocess.run([sys.executable, "-c", script], env=environment(), cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.slow
def test_jobs_that_share_a_process_equal_jobs_alone_bit_for_bit(ltrun: Run, tmp_path: Path) -> None:
    choices = ("-m", "method=cmo,sade", "seed=0", *SHORT)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert ltrun(*choices, f"outputs={alone}", "runtime.pack=1", "runtime.threads=1").returncode == 0
    done = in_one_process(tmp_path, 2, *choices, f"outputs={shared}")
    assert done.returncode == 0, done.stderr
    results = sorted(path.relative_to(alone) for path in alone.rglob("result.json"))
    assert len(results) == 2
    for result in results:
        first, second = (json.loads((root / result).read_text()) for root in (alone, shared))
        assert first["predictors"] == second["predictors"]
        assert (first["provenance"]["at_once"], second["provenance"]["at_once"]) == (1, 2)
        scores = [(root / result).with_name("predictions.npz").read_bytes() for root in (alone, shared)]
        assert scores[0] == scores[1]


def test_a_sweep_without_a_cache_decodes_its_images(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("-m", "seed=0,1", *SHORT, "epochs=1", "runtime.pack=2", LTRUN_CACHE=str(tmp_path / "none yet"))
    assert done.returncode == 0, done.stderr


def test_a_job_that_fails_in_a_shared_process_stops_no_other(tmp_path: Path) -> None:
    done = in_one_process(tmp_path, 2, "-m", "optimizer.lr=1e30,0.1", "seed=0,1", *SHORT)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("the loss is not finite") == 4, "each failure is reported when it happens and below the table"
    assert len(list(tmp_path.rglob("result.json"))) == 2


def test_a_warning_names_its_job(ltrun: Run) -> None:
    twice = ("resampling=class_balanced", "logit_adjustment=balanced_softmax")
    done = ltrun("-m", "seed=0,1", *twice, "dataset=digits_lt", "epochs=1", "runtime.pack=2")
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stdout.splitlines() if "balances the classes more than once" in line]
    assert len(warned) == 2
    for seed in (0, 1):
        assert any(line.startswith("warning: ") and f" on digits_lt, seed {seed}: " in line for line in warned)


@pytest.mark.parametrize("pack", ["0", "many", "1.5", "true", "null"])
def test_runtime_pack_is_auto_or_a_positive_whole_number(pack: str, ltrun: Run) -> None:
    done = ltrun("-m", "seed=0,1", *SHORT, f"runtime.pack={pack}")
    assert done.returncode == 1
    assert "runtime.pack: expected " in done.stderr


def test_a_misspelt_option_stops_a_sweep_before_it_starts(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("-m", "method=erm,ldma", *SHORT)
    assert done.returncode == 1
    assert "method: there is no option 'ldma'; did you mean 'ldam'?" in done.stderr
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_finished_jobs_are_skipped_without_starting_a_process(ltrun: Run, tmp_path: Path) -> None:
    command = ["-m", "seed=0,1", *SHORT, "epochs=1", "runtime.pack=2"]
    assert ltrun(*command).returncode == 0
    script = (
        "import multiprocessing.forkserver as f; from ltrun.cli import dispatch\n"
        f"code = dispatch({command!r}); print(f._forkserver._forkserver_pid); raise SystemExit(code)"
    )
    again = subprocess.run([sys.executable, "-c", script], env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("done before") == 2
    assert again.stdout.splitlines()[-1] == "None"


# ------------------------------------------------------------------------------------------------- kills and interrupts


def below(pid: int) -> dict[int, int]:
    """{process: its parent} of all descendants of a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, state, parent = stat.parent.name, *stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # the process has ended
        if state != "Z":
            parents[int(name)] = int(parent)
    found: dict[int, int] = {}
    while more := {p: q for p, q in parents.items() if q in {pid, *found} and p not in found}:
        found |= more
    return found


def workers(pid: int) -> dict[int, int]:
    """{training process: the server that forked it}; leaves out children of a run, such as git."""
    found = below(pid)
    return {process: parent for process, parent in found.items() if found.get(parent) == pid}


def until(holds: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.02)


def training(folder: Path, runs: int = 2) -> bool:
    """Whether at least `runs` runs have finished an epoch."""
    return sum(bool(path.read_text()) for path in folder.rglob("metrics.jsonl")) >= runs


def started(tmp_path: Path, *choices: str) -> subprocess.Popen[str]:
    command, pipe = [*PROGRAM, "-m", *LONG, *choices], subprocess.PIPE
    return subprocess.Popen(
        command, env=environment(), cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def gone(processes: dict[int, int]) -> bool:
    return not any(Path(f"/proc/{process}").exists() for process in processes)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_a_killed_job_fails_alone_and_an_interrupt_stops_the_others(tmp_path: Path) -> None:
    sweep = started(tmp_path, "seed=0,1,2", "epochs=4000")
    until(lambda: training(tmp_path))
    victim, server = next(iter(workers(sweep.pid).items()))
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1, "a fork would lose a second thread of the server"
    os.kill(victim, signal.SIGKILL)
    until(lambda: training(tmp_path, 3))  # the third job has taken the place of the victim
    assert len(workers(sweep.pid)) == 2 and victim not in workers(sweep.pid)
    left = below(sweep.pid)
    os.killpg(sweep.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    output, errors = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert "Traceback" not in output + errors
    assert "interrupted; nothing finished is lost" in output
    assert "1 failed" in errors
    assert errors.count("its process was ended by SIGKILL") == 2, "each failure is reported when it happens and below the table"
    until(lambda: gone(left), 20)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_no_process_outlives_a_killed_sweep_and_the_same_command_resumes(tmp_path: Path) -> None:
    sweep = started(tmp_path, "seed=0,1", "epochs=4")
    until(lambda: training(tmp_path))
    left = below(sweep.pid)
    sweep.kill()
    sweep.communicate(timeout=60)
    until(lambda: gone(left), 20)
    again = started(tmp_path, "seed=0,1", "epochs=4")
    output, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    assert len(list(tmp_path.rglob("result.json"))) == 2
    assert "2/2 " in output


# ------------------------------------------------------------------------------------------------------ temporary folders


def test_a_sweep_trains_although_the_path_of_temporary_files_is_long(tmp_path: Path) -> None:
    """The path of a socket has at most 107 bytes."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    command = [*PROGRAM, "-m", "seed=0,1", "dataset=digits_lt", "epochs=1", "runtime.pack=2"]
    done = subprocess.run(command, env=environment(TMPDIR=str(long)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("result.json"))) == 2 and not list(long.iterdir())


def test_jobs_train_one_after_the_other_if_no_process_can_be_started(
    ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ltrun.sweep.server.shorten_sockets", refused)
    done = ltrun("-m", "seed=0,1", "dataset=digits_lt", "epochs=1", "runtime.pack=2")
    assert done.returncode == 0, done.stderr
    assert "jobs train one after the other, as with runtime.pack=1" in done.stderr and "No space left" in done.stderr
    assert len(list(tmp_path.rglob("result.json"))) == 2
