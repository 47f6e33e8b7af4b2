"""Terminal rendering of tables."""

from __future__ import annotations

from collections.abc import Sequence

from ltrun import streams
from ltrun.report.render.common import RUNS, number, plain
from ltrun.report.table import Table

NAME, VALUE = 16, 8  # least width in characters to which names, and values of swept keys, are folded on a terminal


def terminal(tables: Sequence[Table]) -> None:
    """Prints tables to standard output; the best mean of a column is bold."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as RichTable
    from rich.text import Text

    console = streams.console()
    if not console.file.isatty():
        console = Console(highlight=False, width=400)  # do not wrap lines in a file
    for table in tables:
        shown = RichTable(title=Text(plain(table.title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        numbers = [[*(number(cell, row) for cell in row.cells), str(row.n), *map(plain, row.beside)] for row in table.rows]
        for i, head in enumerate(table.heads):
            longest = max(len(head), *(len(row.names[i]) for row in table.rows))
            shown.add_column(Text(plain(head)), overflow="fold", min_width=min(VALUE if i else NAME, longest))
        for column, texts in zip((*table.columns, RUNS, *table.beside), zip(*numbers, strict=True), strict=True):
            shown.add_column(Text(plain(column)), justify="right", no_wrap=True, min_width=max(map(len, texts)))
        best = [table.best(column) for column in range(len(table.columns))]
        for i, (row, shown_numbers) in enumerate(zip(table.rows, numbers, strict=True)):
            styles = ["bold" if i in top else "" for top in best] + [""] * (1 + len(table.beside))
            shown.add_row(*(Text(plain(name)) for name in row.names), *map(Text, shown_numbers, styles))
        least = Measurement.get(console, console.options.update(max_width=10**4), shown).minimum
        screen, console.width = console.width, max(console.width, least)  # cut nothing off on a narrow screen
        console.print(shown, crop=False)
        console.width = screen
        for line in (table.caption, *table.notes):
            console.print(Text(plain(line), style="dim"))
        console.print()
