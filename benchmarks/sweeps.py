"""Short sweeps on digits_lt: their commands and processes, and the comparison of their results bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltrun.cli import dispatch
from ltrun.sweep import check, jobs, pool, server

RUN = ("dataset=digits_lt", "network=resnet8", "epochs=5", "evaluation.every=5", "runtime.checkpoint_seconds=0",
       "runtime.device=cpu")  # fmt: skip
SWEEP = ("-m", "method=erm,crt", "seed=0,1", *RUN, "runtime.pack=2")
ALONE = ("method=erm", "seed=0", *RUN, "runtime.threads=1")
PHOTOS = ("dataset=image_folder", "dataset.image_size=32", "dataset.streamed=true", "dataset.workers=2", "network=resnet8",
          "epochs=60", "batch_size=16", "runtime.device=cpu", "runtime.threads=1", "runtime.checkpoint_seconds=0")  # fmt: skip
PATIENCE = 300  # seconds after which a command counts as stuck
UNLOCKABLE = "import errno, fcntl\ndef flock(*_):\n    raise OSError(errno.{name}, 'no locks')\nfcntl.flock = flock\n"


# --------------------------------------------------------------------------------------------------- commands and processes


def start(words: tuple[str, ...], outputs: Path, **more: str) -> subprocess.Popen[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("LTRUN_")}
    command, pipe = [sys.executable, "-m", "ltrun", *words, f"outputs={outputs}"], subprocess.PIPE
    return subprocess.Popen(
        command, env=inherited | {"OMP_NUM_THREADS": "1"} | more, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


class Forked:
    """A command in a fork of this process, which has imported torch: so most random moments lie in training."""

    def __init__(self, words: tuple[str, ...], outputs: Path, said: Path) -> None:
        self.said, self.returncode = said, -1
        self.pid = os.fork()
        if not self.pid:
            self._run([*words, f"outputs={outputs}"])

    def _run(self, argv: list[str]) -> None:
        """Runs the command in the child; its jobs train in further forks, because a fork server would import torch anew."""
        code = 1
        try:
            os.setsid()
            file = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            for module in (check, pool, server):
                module.CONTEXT = multiprocessing.get_context("fork")  # type: ignore[attr-defined]
            for other in (check, jobs, server):
                other.start_server = lambda: None  # type: ignore[attr-defined]
            code = dispatch(argv)
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self, seconds: float) -> bool:
        """Waits for the end. Returns whether it came in time."""
        end = time.monotonic() + seconds
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        self.returncode = os.waitstatus_to_exitcode(found[1])
        return True


def ended(words: tuple[str, ...], outputs: Path, **more: str) -> tuple[int, str]:
    """Runs a command to its end. Returns its exit code and what it printed."""
    process = start(words, outputs, **more)
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output + errors


def group(process: int) -> dict[int, int]:
    """Returns process -> its parent, of the living processes in the session that a command started."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == process and state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def orphans(process: int, seconds: float = 20) -> int:
    """Returns how many processes of a command outlive it by so many seconds."""
    end = time.monotonic() + seconds
    while group(process) and time.monotonic() < end:
        time.sleep(0.05)
    return len(group(process))


# ------------------------------------------------------------------------------------------------------------- comparison


def differences(one: Path, two: Path, only: str = "") -> list[str]:
    """Returns the files of runs below two folders whose metrics, predictions or model differ in a bit. only: part of paths."""
    wrong = []
    for file in sorted(one.rglob("result.json")):
        place = file.relative_to(one).parent
        if only not in str(place):
            continue
        first, second = file.parent, two / place
        if not (second / "result.json").exists():
            wrong.append(f"{place} is missing")
            continue
        records = [json.loads((folder / "result.json").read_text()) for folder in (first, second)]
        if records[0]["predictors"] != records[1]["predictors"]:
            wrong.append(f"{place}: metrics")
        arrays = [np.load(folder / "predictions.npz") for folder in (first, second)]
        if not all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0].files):
            wrong.append(f"{place}: predictions")
        models = [torch.load(folder / "model.pth", weights_only=True) for folder in (first, second)]
        if not same(*models):
            wrong.append(f"{place}: model")
    return wrong


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


def twice(outputs: Path) -> int:
    """Returns how many epochs the histories below a folder have more than once."""
    rows = [json.loads(line) for file in outputs.rglob("metrics.jsonl") for line in file.open()]
    places = [file for file in outputs.rglob("metrics.jsonl") for _ in file.open()]
    found = Counter((place, row["stage"], row["epoch"]) for place, row in zip(places, rows, strict=True))
    return sum(number - 1 for number in found.values())


def epochs(outputs: Path) -> int:
    return sum(1 for file in outputs.rglob("metrics.jsonl") for _ in file.open())
