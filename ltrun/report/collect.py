"""Discovery of runs below folders: the records of finished runs, and the problems of all others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ltrun.errors import ConfigError, DataError
from ltrun.machine import at_home
from ltrun.results.address import EPOCHS, LOCK, RESULT
from ltrun.results.folder import failure
from ltrun.results.identity import differences
from ltrun.results.record import RunRecord, UnknownRecord

OUTPUTS = "LTRUN_OUTPUTS"  # conf/config.yaml reads it too
DEFAULT = f"default: the folder of {OUTPUTS}, else outputs"


@dataclass(frozen=True)
class Problem:
    """A path whose run is missing from the tables, or is replaced by another record. text: a sentence that names the path."""

    kind: Literal["damaged", "unknown", "failed", "unfinished", "duplicate", "unreadable"]
    path: Path
    text: str


def places(named: Sequence[Path], awaited: bool = False) -> Sequence[Path]:
    """Returns the paths that a command names, or else the folder of LTRUN_OUTPUTS, into which runs go. Raises LtrunError.

    Paths that do not exist are refused only if none does, and if they are not awaited.
    """
    paths = named or [_outputs()]
    if not awaited and not any(path.exists() for path in paths):
        missing = ", ".join(map(str, paths))
        raise DataError(f"there is no {missing}: train a run with 'ltrun method=erm', or name another folder")
    return paths


def _outputs() -> Path:
    folder = os.environ.get(OUTPUTS, "outputs")
    if not folder.strip():
        raise ConfigError(f"{OUTPUTS} names no folder: unset it, or name one")
    return Path(at_home(folder, OUTPUTS))


def collect(paths: Sequence[Path]) -> tuple[list[RunRecord], list[Problem]]:
    """Returns every finished run at or below `paths` once, in the order of the paths, and the problems met.

    Two records with the same data, method, configuration and seed are one run. If their numbers differ, the later record
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
            continue  # without a file, `force=true` has just restarted the run
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
    """Yields each run folder once, and whether it has a result, even if links lead to the folder twice or form a circle.

    opening: also yield folders that hold only a lock, because their run is opening its data or was refused before it began.
    """
    seen: set[tuple[int, int]] = set()

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder that disappears during the walk is not a problem
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
    """Returns whether the path ends in <fingerprint>/seed<k>."""
    return bool(re.fullmatch(r"seed\d+", folder.name) and re.fullmatch("[0-9a-f]{8}", folder.parent.name))


def _twice(first: tuple[Path, RunRecord], second: tuple[Path, RunRecord]) -> Problem:
    (kept, one), (file, other) = first, second
    if one.predictors == other.predictors:
        return Problem("duplicate", file, f"{file} is the same run as {kept}: the tables count it once")
    if _date(other) > _date(one):
        kept, file = file, kept
    return Problem("duplicate", file, f"{file} is left out: {kept} is the same run with other numbers and is not older")


def _date(record: RunRecord) -> str:
    """Returns the date of the record, in ISO format and UTC, so that dates sort as text; empty if there is none."""
    return str(record.provenance.get("date", ""))
