"""Lookup of the single run at or below a path of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ltrun.errors import DataError
from ltrun.results.address import RESULT
from ltrun.results.folder import failure
from ltrun.results.record import RunRecord

LISTED = 12  # most runs that are named if a path holds several


def run_at(path: Path) -> tuple[Path, RunRecord]:
    """Returns (result file, record) for a result file, a run's folder, another file in it, or a folder with one run below it.

    Raises DataError if there is no result, or more than one.
    """
    if path.is_file():
        file = path if path.suffix == ".json" else path.with_name(RESULT)
    else:
        file = path / RESULT
    if not file.is_file():
        file = _only_one_below(path)
    return file, RunRecord.load(file)


def _only_one_below(path: Path) -> Path:
    if not path.is_dir():
        what = f"{path} is not the result of a run" if path.exists() else f"there is no {path}"
        raise DataError(f"{what}: give the folder of a run, or its {RESULT}")
    found = list(islice(_results(path), LISTED + 1))
    if not found:
        why = failure(path)
        state = f"failed ({why})" if why else "neither is nor holds a finished run"
        raise DataError(f"{path} {state}: give the folder of a run, or its {RESULT}")
    if len(found) > 1:
        listed = ", ".join(str(file.parent) for file in found[:LISTED])
        more = " and others" if len(found) > LISTED else ""
        raise DataError(f"{path} holds several runs: name one of {listed}{more}")
    return found[0]


def _results(path: Path) -> Iterator[Path]:
    for folder, children, files in os.walk(path):
        children[:] = sorted(child for child in children if not child.startswith("."))
        if RESULT in files:
            yield Path(folder) / RESULT
