"""`ltrun status`: which runs are done, running, failed, unfinished, or waiting for their turn in a sweep."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ltrun import streams
from ltrun.engine.course import duration
from ltrun.report.collect import DEFAULT, places
from ltrun.report.render.common import plain
from ltrun.report.state import WORDS, State, states

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "unfinished": "yellow", "waiting": "blue"}


def main(argv: Sequence[str]) -> int:
    """Prints the states of runs: a table on a terminal, elsewhere a line per run with tabs between state, epochs, time left,
    run, folder and reason; then the counts. Raises DataError if no folder exists.
    """
    parser = argparse.ArgumentParser("ltrun status", description="Which runs are done, running, failed, unfinished or waiting.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="FOLDER", help=DEFAULT)
    parser.add_argument("--json", action="store_true", help="print JSON: runs, counts, and unreadable files")
    asked = parser.parse_args(argv)
    found, problems = states(places(asked.paths))
    counts = Counter(state.state for state in found)
    if asked.json:
        runs = [asdict(state) | {"folder": str(state.folder)} for state in found]
        unread = [problem.text for problem in problems]
        print(json.dumps({"runs": runs, "counts": {word: counts[word] for word in WORDS}, "unread": unread}, indent=1))
        return 0
    if sys.stdout.isatty():
        _table(found)
    else:
        for state in found:
            print(
                "\t".join(map(plain, (state.state, _epochs(state), _left(state), state.title, str(state.folder), state.reason)))
            )
    print(", ".join(f"{counts[word]:,} {word}" for word in WORDS))
    for problem in problems:
        print(plain(problem.text), file=sys.stderr)
    return 0


def _table(found: Sequence[State]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "Epochs", "Left", "Run", "", box=None, header_style="bold")
    for column in table.columns[1:3]:
        column.justify = "right"
    for column in table.columns[:3]:
        column.no_wrap = True
    for column in table.columns[3:]:
        column.overflow = "fold"
    for state in found:
        texts = _epochs(state), _left(state), plain(state.title), plain(state.reason)
        table.add_row(Text(state.state, COLOURS[state.state]), *map(Text, texts))
    if found:
        streams.console().print(table)


def _epochs(state: State) -> str:
    if state.epoch is None:
        return ""
    return str(state.epoch) if state.epochs is None else f"{state.epoch}/{state.epochs}"


def _left(state: State) -> str:
    return duration(state.left) if state.state == "running" and state.left is not None else ""
