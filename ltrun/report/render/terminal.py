"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ltrun import streams
from ltrun.report.render.common import RUNS, number, plain
from ltrun.report.table import Table

NAME = 16  # characters that a name has at least on a terminal, before it is folded


def terminal(tables: Sequence[Table]) -> None:
    """Prints to standard output; the best mean of a column is bold."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as RichTable
    from rich.text import Text

    console = streams.console()
    if not console.file.isatty():
        console = Console(highlight=False, width=400)  # a file has no edge to wrap at
    for table in tables:
        shown = RichTable(title=Text(plain(table.title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        numbers = [[number(cell, row) for cell in row.cells] + [str(row.n)] for row in table.rows]
        for head, names in zip(table.heads, zip(*(row.names for row in table.rows), strict=True), strict=True):
            shown.add_column(Text(plain(head)), overflow="fold", min_width=min(NAME, max(map(len, (head, *names)))))
        for column, texts in zip((*table.columns, RUNS), zip(*numbers, strict=True), strict=True):
            shown.add_column(Text(plain(column)), justify="right", no_wrap=True, min_width=max(map(len, texts)))
        best = [table.best(column) for column in range(len(table.columns))]
        for i, (row, shown_numbers) in enumerate(zip(table.rows, numbers, strict=True)):
            styles = ["bold" if i in top else "" for top in best] + [""]
            shown.add_row(*(Text(plain(name)) for name in row.names), *map(Text, shown_numbers, styles))
        least = Measurement.get(console, console.options.update(max_width=10**4), shown).minimum
        screen, console.width = console.width, max(console.width, least)  # nothing is cut off, on however narrow a screen
        console.print(shown, crop=False)
        console.width = screen
        for line in (table.caption, *table.notes):
            console.print(Text(plain(line), style="dim"))
        console.print()
