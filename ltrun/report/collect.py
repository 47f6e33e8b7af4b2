"""Finds the runs under any folders: records of those that are done, and what is wrong with the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ltrun.errors import DataError
from ltrun.results.address import EPOCHS, LOCK, RESULT
from ltrun.results.folder import failure
from ltrun.results.identity import differences
from ltrun.results.record import RunRecord, UnknownRecord


@dataclass(frozen=True)
class Problem:
    """Something found that is not in the tables, or not as it lies there. text: a sentence that names the path."""

    kind: Literal["damaged", "unknown", "failed", "unfinished", "duplicate", "unreadable"]
    path: Path
    text: str


def refuse_missing(paths: Sequence[Path]) -> None:
    """Raises DataError where none of the paths is there."""
    if not any(path.exists() for path in paths):
        places = ", ".join(map(str, paths))
        raise DataError(f"there is no {places}: train a run with 'ltrun method=erm', or name another folder")


def collect(paths: Sequence[Path]) -> tuple[list[RunRecord], list[Problem]]:
    """Every finished run at or below `paths`, each once, in the order of their paths; and the problems met.

    Two records of the same data, method, configuration and seed are one run. Where their numbers differ, the one written later
    counts.
    """
    found: dict[tuple[str, str, str, int], list[tuple[Path, RunRecord]]] = {}
    problems: list[Problem] = []
    for folder, done in run_folders(paths, problems):
        if not done:
            reason = failure(folder)
            if reason is None:
                problems.append(Problem("unfinished", folder, f"{folder} is unfinished"))
            else:
                problems.append(Problem("failed", folder, f"{folder} failed: {reason}"))
            continue
        file = folder / RESULT
        try:
            record = RunRecord.load(file)
        except DataError as error:
            if file.exists():
                kind: Literal["unknown", "damaged"] = "unknown" if isinstance(error, UnknownRecord) else "damaged"
                problems.append(Problem(kind, file, str(error)))
            continue  # else a run that `force=true` has just begun anew
        key = (record.dataset, record.method, record.fingerprint, record.seed)
        runs = found.setdefault(key, [])
        same = next((i for i, (_, other) in enumerate(runs) if not differences(other.data, record.data)), None)
        if same is None:
            runs.append((file, record))
            continue
        problems.append(_twice(runs[same], (file, record)))
        if _date(record) > _date(runs[same][1]):
            runs[same] = (file, record)
    return [record for runs in found.values() for _, record in runs], problems


def run_folders(paths: Sequence[Path], problems: list[Problem], opening: bool = False) -> Iterator[tuple[Path, bool]]:
    """(folder, whether it has a result) of every run folder, each once, also where links lead to it twice or in a circle.

    opening: also those that hold no more than a lock, as of a run that opens its data, or was refused before it began.
    """
    seen: set[tuple[int, int]] = set()

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder that went away while we looked is no problem
            where = Path(str(error.filename))
            problems.append(Problem("unreadable", where, f"{where} cannot be read: {error.strerror}"))

    for path in paths:
        top = path.parent if path.name == RESULT and path.is_file() else path
        if not top.is_dir():
            problems.append(Problem("unreadable", path, f"{path} is not a folder"))
            continue
        for name, folders, files in os.walk(top, onerror=refused, followlinks=True):
            folder = Path(name)
            try:
                status = folder.stat()
            except OSError as error:
                refused(error)
                continue
            if (mark := (status.st_dev, status.st_ino)) in seen:
                folders.clear()
                continue
            seen.add(mark)
            folders[:] = sorted(child for child in folders if not child.startswith("."))
            begun = is_address(folder) and (opening or files != [LOCK])
            if RESULT in files or EPOCHS in files or begun:
                yield folder, RESULT in files


def is_address(folder: Path) -> bool:
    """<fingerprint>/seed<k>"""
    return bool(re.fullmatch(r"seed\d+", folder.name) and re.fullmatch("[0-9a-f]{8}", folder.parent.name))


def _twice(first: tuple[Path, RunRecord], second: tuple[Path, RunRecord]) -> Problem:
    (kept, one), (file, other) = first, second
    if one.predictors == other.predictors:
        return Problem("duplicate", file, f"{file} is the same run as {kept}: counted once")
    if _date(other) > _date(one):
        kept, file = file, kept
    return Problem("duplicate", file, f"{file} has other numbers than the same run in {kept}, which is no older: left out")


def _date(record: RunRecord) -> str:
    """ISO dates in UTC sort as text."""
    return str(record.provenance.get("date", ""))
