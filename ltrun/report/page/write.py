"""Writer of the page: once, or again and again while runs go on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ltrun.errors import ConfigError, DataError
from ltrun.report.collect import collect
from ltrun.report.page.contents import Asked, Found
from ltrun.report.page.page import page
from ltrun.report.state import states
from ltrun.report.stored import is_stored, with_stored
from ltrun.results.atomic import write_atomically

ENDINGS = (".html", ".htm")  # of existing files that may be replaced
SECONDS = 5  # between two looks at the folders, and between two loads of a watched page


def refuse_place(file: Path) -> None:
    """Raises ConfigError if the page would replace a folder or another kind of file."""
    if file.is_dir() or (file.exists() and file.suffix.lower() not in ENDINGS):
        raise ConfigError(f"--html {file}: this exists and is not a page; name a file that ends in {ENDINGS[0]}")


def write(paths: Sequence[Path], file: Path, asked: Asked) -> Found:
    """Writes the page once. Returns the runs on it. Raises LtrunError, DataError if no run has finished."""
    found = _found(paths, asked)
    if not found.records:
        under = ", ".join(map(str, paths))
        raise DataError(f"no finished run under {under}: train one with 'ltrun method=erm', or name another folder")
    write_atomically(file, page(found, asked).encode())
    return found


def watch(paths: Sequence[Path], file: Path, asked: Asked) -> Iterator[Found]:
    """Writes a page that loads itself anew, and writes it again whenever a run begins, ends or finishes an epoch.

    Yields the runs after each writing; ends when no run is running or waiting, after a last writing of a page that stays.
    Raises LtrunError.
    """
    before = None
    while True:
        found = _found(paths, asked)
        waiting = not found.states or any(state.state in ("running", "unfinished") for state in found.states)
        now = (waiting, [(state.folder, state.state, state.epoch) for state in found.states], len(found.records))
        if now != before:
            write_atomically(file, page(found, asked, SECONDS if waiting else None).encode())
            before = now
            yield found
        if not waiting:
            return
        time.sleep(SECONDS)


def _found(paths: Sequence[Path], asked: Asked) -> Found:
    there = [path for path in paths if path.exists()]
    records, problems = collect(there)
    notes: list[str] = []
    if asked.metric is not None and records and is_stored(asked.metric):
        records, notes = with_stored(records, asked.metric, asked.split, asked.lists)
    return Found(records, states(there)[0], problems, notes)
