"""State of every run below a folder: done, running, failed, unfinished or waiting. Other processes may be writing there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from socket import gethostname
from statistics import median
from typing import Any, Literal, get_args

from ltrun.errors import DataError
from ltrun.machine import began
from ltrun.metrics import is_number
from ltrun.report.collect import Problem, is_address, run_folders
from ltrun.results.address import EPOCHS, JOB, LOCK, RESULT, labelled
from ltrun.results.epochs import epochs_of
from ltrun.results.folder import failure, is_held, signed
from ltrun.results.record import RunRecord, UnknownRecord

TAIL = 2**15  # bytes to read from the end of metrics.jsonl
YOUNG = 600  # seconds without a write after which a run counts as ended, where files cannot be locked

Word = Literal["done", "failed", "waiting", "unfinished", "running"]
WORDS: tuple[Word, ...] = get_args(Word)  # running jobs are printed last, nearest to the prompt


@dataclass(frozen=True)
class State:
    """The state of a run. epoch: finished epochs. epochs: all epochs. left: seconds to its end. Each is None if unknown.

    reason: the first line of a failure, or another remark; may be empty.
    """

    folder: Path
    state: Word
    title: str
    epoch: int | None = None
    epochs: int | None = None
    left: float | None = None
    reason: str = ""


def states(paths: Sequence[Path]) -> tuple[list[State], list[Problem]]:
    """Returns the state of every run at or below `paths`, ordered by state and folder, and the problems met."""
    found: list[State] = []
    problems: list[Problem] = []
    for folder, done in run_folders(paths, problems, opening=True):
        state = _finished(folder) if done else _begun(folder)
        if state is not None:
            found.append(state)
        elif not is_address(folder):
            problems.append(Problem("unknown", folder, f"{folder / (RESULT if done else EPOCHS)} is not from a run of ltrun"))
    return sorted(found, key=lambda state: WORDS.index(state.state)), problems


def _finished(folder: Path) -> State | None:
    """Returns the state of a folder with a result; None if it is not ltrun's."""
    try:
        record = RunRecord.load(folder / RESULT)
    except UnknownRecord:
        return State(folder, "done", _title(folder, signed(folder)), reason="a later version of ltrun wrote its result")
    except DataError as error:
        if not (folder / RESULT).exists():  # force=true has just restarted the run
            return _begun(folder)
        return State(folder, "failed", _title(folder, signed(folder)), reason=str(error)) if is_address(folder) else None
    epochs = sum(stage["epochs"] for stage in record.stages)
    refused = failure(folder)
    reason = f"done before; force=true was refused: {refused}" if refused else ""
    return State(folder, "done", f"{record.label} on {record.dataset}, seed {record.seed}", epochs, epochs, 0.0, reason)


def _begun(folder: Path) -> State | None:
    """Returns the state of a folder without a result; None if it is not ltrun's, or its run was refused before it began."""
    said, rows = signed(folder), epochs_of(folder, TAIL)
    if not said and not rows and not is_address(folder):
        return None
    held = is_held(folder)
    if held is None:
        held = _lives(folder, said, rows)
    if not held and (folder / RESULT).exists():  # the run has just ended
        return _finished(folder)
    if not held and _is_bare(folder):
        return None
    reason = "" if held else failure(folder)
    state: Word = "running" if held else "unfinished" if reason is None else "failed"
    done, total = _reached(said, rows)
    left = _left(folder, rows, total - done) if held and done is not None and total is not None else None
    if state == "unfinished" and not rows and not said and (folder / JOB).exists():
        state = "waiting"
    return State(folder, state, _title(folder, said), done, total, left, reason or "")


def _is_bare(folder: Path) -> bool:
    """Returns whether a folder holds nothing but a lock, or has just been removed."""
    with suppress(OSError):
        return all(path.name == LOCK for path in folder.iterdir())
    return True


def _title(folder: Path, said: Mapping[str, Any]) -> str:
    """Returns the title in the run's lock or in the job of its launcher, or else its address."""
    if isinstance(said.get("title"), str):
        return str(said["title"])
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        job = json.loads((folder / JOB).read_bytes())
        return f"{labelled(job['method'], job['changes'])} on {job['dataset']}, seed {job['config']['seed']}"
    if not is_address(folder):
        return str(folder)
    dataset, method, fingerprint, seed = folder.absolute().parts[-4:]
    return f"{method} ({fingerprint}) on {dataset}, {seed.replace('seed', 'seed ')}"


def _reached(said: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> tuple[int | None, int | None]:
    """Returns the number of finished epochs and of all epochs."""
    stages = said.get("stages")
    if not isinstance(stages, Mapping) or not all(is_number(epochs) for epochs in stages.values()):
        return (int(rows[-1]["epoch"]), None) if rows else (None, None)
    before = dict(zip(stages, accumulate(stages.values(), initial=0), strict=False))
    done = before.get(rows[-1]["stage"], 0) + rows[-1]["epoch"] if rows else 0
    return int(done), int(sum(stages.values()))


def _left(folder: Path, rows: Sequence[Mapping[str, Any]], epochs: int) -> float | None:
    """Returns the seconds left for so many epochs at the pace of the last ones, less the time since the last epoch ended."""
    pace = _pace(rows)
    return None if pace is None else max(0.0, epochs * pace - min(_age(folder / EPOCHS), pace))


def _pace(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns the seconds of an epoch and its evaluation: medians, so that pauses and changes of the clock do not count."""
    passed = [b["time"] - a["time"] for a, b in pairwise(rows) if is_number(a.get("time")) and is_number(b.get("time"))]
    trained = [row["seconds"] for row in rows if is_number(row.get("seconds"))]
    if not trained:
        return None
    return max(median(passed) if passed else 0.0, median(trained))


def _lives(folder: Path, said: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Guesses without locks whether a run is under way: its process exists on this machine, or its files are recent."""
    process = said.get("process")
    if said.get("machine") == gethostname() and isinstance(process, int):
        return _is_alive(process) and said.get("since") in (None, began(process))  # another process may have its number now
    return min(_age(folder / EPOCHS), _age(folder / LOCK)) < max(YOUNG, 5 * (_pace(rows) or 0.0))


def _is_alive(process: int) -> bool:
    with suppress(OSError):  # not Linux, or the process has ended
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:1] == ["Z"]:
            return False  # a zombie: it has ended, and its parent has not waited for it
    try:
        os.kill(process, 0)
    except PermissionError:  # the process exists and belongs to another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _age(path: Path) -> float:
    """Returns the seconds since a file was written; 0 if its time lies ahead of this clock, infinity without the file."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return float("inf")
