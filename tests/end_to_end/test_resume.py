"""Resuming: the same command resumes a killed run, which ends bit-equal to an undisturbed run."""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.results.history import History
from tests.support.commands import PROGRAM, SHORT, Run, environment, refused
from tests.support.data_fakes import class_folders

METHODS = ["erm", "ldam_drw", "crt", "cmo", "paco", "sade"]
TIMES = {"seconds", "images_per_second", "time"}


def history(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def outcome(root: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], Any]:
    """Weights, history and metrics of the only run under `root`."""
    (result,) = root.rglob("result.json")
    (checkpoint,) = result.parent.glob("*.pt")
    state = torch.load(checkpoint, weights_only=True)
    return state["module"], history(result.parent), json.loads(result.read_text())["predictors"]


def kill_when(command: list[str], folder: Path, epochs: int) -> None:
    """Starts a run and SIGKILLs its process group once the history has `epochs` lines."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment(), stdout=silent, stderr=silent, start_new_session=True)
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        lines = sum(len(path.read_text().splitlines()) for path in folder.rglob("metrics.jsonl"))
        if lines >= epochs:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.01)
    pytest.fail(f"the run ended, or hung, before it had {epochs} epochs")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_bit_equal(method: str, ltrun: Run, tmp_path: Path) -> None:
    # The kill comes after the second epoch, before or after its checkpoint.
    choices = (f"method={method}", *SHORT, "epochs=4")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = ltrun(*choices, f"outputs={whole}")
    assert done.returncode == 0, done.stderr
    kill_when([*PROGRAM, *choices, f"outputs={broken}"], broken, 2)
    assert not list(broken.rglob("result.json")), "the run had ended before it was killed"
    again = ltrun(*choices, f"outputs={broken}")
    assert again.returncode == 0, again.stderr
    (weights, rows, metrics), (weights2, rows2, metrics2) = outcome(whole), outcome(broken)
    assert weights.keys() == weights2.keys()
    for name in weights:
        assert torch.equal(weights[name], weights2[name]), name
    assert rows == rows2
    assert metrics == metrics2


def test_another_seed_differs_and_the_same_seed_does_not(ltrun: Run, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert ltrun("method=mixup", *SHORT, f"seed={seed}", f"outputs={tmp_path / name}").returncode == 0
    first, second, third = (outcome(tmp_path / name) for name in "abc")
    assert first[1] == second[1]
    assert first[2] == second[2]
    assert first[1] != third[1]


def test_a_damaged_history_keeps_the_rows_before_the_damage(tmp_path: Path) -> None:
    row = {"stage": "train", "epoch": 1, "loss": 1.0}
    History(tmp_path, tensorboard=False).append(row)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b"\xff\x00")
    History(tmp_path, tensorboard=False).append(row | {"epoch": 2})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_previous_checkpoint(ltrun: Run, tmp_path: Path) -> None:
    choices = ("method=erm", *SHORT, "epochs=4")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert ltrun(*choices, f"outputs={whole}").returncode == 0
    kill_when([*PROGRAM, *choices, f"outputs={broken}"], broken, 3)
    (manifest,) = broken.rglob("checkpoints.json")
    newest = manifest.parent / json.loads(manifest.read_text())["checkpoints"][0]["file"]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    again = ltrun(*choices, f"outputs={broken}")
    assert again.returncode == 0, again.stderr
    assert "is damaged; resuming from the checkpoint before it" in again.stdout
    assert outcome(whole)[1:] == outcome(broken)[1:]


def test_an_interrupt_ends_a_run_before_its_last_epoch_and_says_how_to_resume(tmp_path: Path) -> None:
    command = [*PROGRAM, "method=erm", "dataset=digits_lt", "epochs=400", "runtime.checkpoint_seconds=0"]
    command.append(f"outputs={tmp_path}")
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not list(tmp_path.rglob("checkpoints.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=100)
    assert not list(tmp_path.rglob("result.json")), "the run has trained to its end"
    assert process.returncode == 130
    assert "Traceback" not in output + errors
    assert "resumes from the last checkpoint" in output
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.slow
def test_an_interrupted_forced_run_leaves_nothing_of_the_previous_run(ltrun: Run, tmp_path: Path) -> None:
    choices = ("method=erm", *SHORT, "epochs=30", f"outputs={tmp_path}")
    assert ltrun(*choices).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    command = [*PROGRAM, *choices, "force=true"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while result.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and not result.exists(), output
    assert "Without force=true the command resumes" in output
    assert "force=true" not in output.splitlines()[-1]
    again = ltrun(*choices)
    assert again.returncode == 0 and "done before" not in again.stdout
    assert "train 30/30" in again.stdout, "training must not start from the checkpoint of the finished run"


@pytest.mark.slow
def test_a_run_does_not_resume_on_other_images(ltrun: Run, tmp_path: Path) -> None:
    class_folders(tmp_path / "images", {"a": 6, "b": 4})
    data = ("dataset=image_folder", f"dataset.root={tmp_path / 'images'}", "dataset.image_size=32", "batch_size=4")
    choices = (*data, "epochs=40", "runtime.checkpoint_seconds=0", f"outputs={tmp_path / 'runs'}")
    kill_when([*PROGRAM, *choices], tmp_path / "runs", 2)
    class_folders(tmp_path / "images", {"a": 6, "b": 5})
    sentence = refused(ltrun(*choices))
    assert "test images 1 is new (b/0001.png)" in sentence and "force=true" in sentence
    assert ltrun(*choices, "epochs=2", "force=true").returncode == 0


def test_a_checkpoint_that_does_not_fit_is_refused_in_one_sentence(ltrun: Run, tmp_path: Path) -> None:
    choices = ("method=erm", *SHORT, "epochs=40", f"outputs={tmp_path}")
    kill_when([*PROGRAM, *choices], tmp_path, 2)
    (manifest,) = tmp_path.rglob("checkpoints.json")
    entry = json.loads(manifest.read_text())["checkpoints"][0]
    path = manifest.parent / entry["file"]
    state = torch.load(path, weights_only=True)
    state["module"].pop(next(iter(state["module"])))  # as if the saved network had no such weight
    torch.save(state, path)
    manifest.write_text(json.dumps({"checkpoints": [entry | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}]}))
    sentence = refused(ltrun(*choices))
    assert "does not fit this run" in sentence and "force=true trains it from scratch" in sentence and "defect" not in sentence


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1", "runtime.pack=2")], ids=["alone", "packed"])
def test_a_scheduler_that_ends_a_run_costs_at_most_the_current_epoch(sweep: tuple[str, ...], tmp_path: Path) -> None:
    command = [*PROGRAM, *sweep, "dataset=digits_lt", "epochs=9000", "runtime.checkpoint_seconds=9000", f"outputs={tmp_path}"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runs, deadline = 2 if sweep else 1, time.monotonic() + 100
    while sum(len(history(path.parent)) > 3 for path in tmp_path.rglob("metrics.jsonl")) < runs:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    assert not list(tmp_path.rglob("checkpoints.json"))
    for _ in range(2):  # some schedulers send the signal twice
        process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, output + errors
    assert "resumes from the last checkpoint" in output and "Traceback" not in output + errors
    folders = [path.parent for path in tmp_path.rglob("metrics.jsonl")]
    assert len(folders) == runs
    for folder in folders:
        newest = json.loads((folder / "checkpoints.json").read_text())["checkpoints"][0]["file"]
        assert int(newest.removesuffix(".pt").rpartition("-")[2]) >= history(folder)[-1]["epoch"] - 1
