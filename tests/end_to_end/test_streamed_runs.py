"""Streamed runs: results and address equal those of resident images, and no process is left behind."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from ltrun.results.address import RESULT
from tests.support.commands import PROGRAM, Run, environment
from tests.support.data_fakes import class_folders

PHOTOS = ("dataset=image_folder", "dataset.image_size=8", "network=resnet8", "batch_size=16", "evaluation.every=1")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    class_folders(tmp_path / "photos", {"ant": 30, "bee": 12, "cat": 6}, size=12)
    return tmp_path / "photos"


def result_of(outputs: Path) -> Path:
    (path,) = outputs.rglob(RESULT)
    return path.parent


def test_streamed_and_resident_runs_are_bit_equal(ltrun: Run, photos: Path) -> None:
    runs = {}
    for streamed in ("true", "false"):
        where = (f"dataset.root={photos}", f"dataset.streamed={streamed}", "dataset.workers=1", f"outputs=streamed_{streamed}")
        done = ltrun(*PHOTOS, *where, "method=bbn", "epochs=2", "runtime.device=cpu")
        assert done.returncode == 0, done.stderr
        runs[streamed] = result_of(Path(f"streamed_{streamed}"))
    one, other = runs["true"], runs["false"]
    assert one.parts[1:] == other.parts[1:], "dataset.streamed is not part of an address"
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, other)]
    for key in ("loss", "losses", "evaluation"):
        assert [line[key] for line in lines[0]] == [line[key] for line in lines[1]]
    scores = [np.load(run / "predictions.npz") for run in (one, other)]
    assert all(np.array_equal(scores[0][name], scores[1][name]) for name in scores[0].files)


def test_the_address_of_a_run_ignores_the_spelling_of_its_root(ltrun: Run, photos: Path) -> None:
    (photos.parent / "link").symlink_to(photos)
    short = (*PHOTOS, "epochs=1", "dataset.streamed=false", "outputs=runs")
    assert ltrun(*short, f"dataset.root={photos}").returncode == 0
    for spelling in ("./photos/", f"{photos}/../link", "~/photos"):
        done = ltrun(*short, f"dataset.root={spelling}", HOME=str(photos.parent))
        assert "done before" in done.stdout, done.stdout + done.stderr


def test_an_interrupt_ends_every_process(photos: Path, tmp_path: Path) -> None:
    command = [*PROGRAM, *PHOTOS, f"dataset.root={photos}", "dataset.streamed=true", "dataset.workers=2", "epochs=10000"]
    options = {"cwd": tmp_path, "env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = subprocess.Popen(command, start_new_session=True, **options)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("metrics.jsonl")):
        assert running.poll() is None, running.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


def test_runs_on_photographs_are_the_same_with_any_number_of_workers(ltrun: Run, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", {"ant": 20, "bee": 8}, size=40)
    photos = ("dataset=photos", "dataset.image_size=16", "dataset.resize=20", "network=resnet8", "batch_size=8")
    runs = []
    for workers in (0, 2):
        where = (f"dataset.root={tmp_path / 'photos'}", f"dataset.workers={workers}", f"outputs=workers_{workers}")
        done = ltrun(*photos, *where, "method=paco", "epochs=2", "runtime.device=cpu")
        assert done.returncode == 0, done.stderr
        runs.append(result_of(Path(f"workers_{workers}")))
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    assert [line["losses"] for line in lines[0]] == [line["losses"] for line in lines[1]]
    assert lines[0][0]["loss"] != lines[0][1]["loss"]
