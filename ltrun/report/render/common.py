"""Text of numbers, names and rows, for all formats of tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from ltrun.report.table import DASH, Cell, Mark, Row, Table

RUNS = "n"


def plain(text: str) -> str:
    """Removes line breaks and terminal control sequences, which a name in a foreign file may hold."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def percent(share: float) -> str:
    """Returns a fraction of 1 as `93.1%`."""
    return f"{100 * share:.1f}%"


def number(cell: Cell, row: Row, plus_minus: str = " ± ", mean: str = "{}", dash: str = DASH) -> str:
    """Returns `38.3 ± 0.4`; `38.3` for one run; a dash for an empty group; `38.3 (n=2)` if not all runs of the row have it."""
    if cell.mean is None:
        return dash
    shown = mean.format(cell.text(cell.mean)) + ("" if cell.std is None else f"{plus_minus}{cell.text(cell.std)}")
    return shown if cell.n == row.n else f"{shown} (n={cell.n})"


def complain(lines: Iterable[str]) -> None:
    """Prints lines to standard error."""
    for line in lines:
        print(plain(line), file=sys.stderr)


def body(table: Table, name: Callable[[str], str], cell: Callable[[Cell, Row, Mark], str]) -> list[list[str]]:
    """Returns the cells of every row as text. name, cell: functions that write a name, and a number with its mark."""
    marks = [table.marks(column) for column in range(len(table.columns))]
    return [
        [
            *(name(plain(n)) for n in row.names),
            *(cell(c, row, marks[k].get(i, "")) for k, c in enumerate(row.cells)),
            str(row.n),
            *(name(plain(text)) for text in row.beside),
        ]
        for i, row in enumerate(table.rows)
    ]
