"""Terminal, CSV and JSON rendering of wrong images."""

from __future__ import annotations

import csv
import io
import json

from ltrun import streams
from ltrun.report.mistakes import columns
from ltrun.report.render.common import plain
from ltrun.report.render.csv import text
from ltrun.report.wrong import Mistakes


def terminal(mistakes: Mistakes, count: int | None) -> None:
    """Prints the first `count` images to standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = streams.console()
    if not console.file.isatty():
        console = Console(highlight=False, width=400)  # do not wrap lines in a file
    shown = mistakes.first(count)
    console.print(Text(plain(mistakes.title), style="bold"))
    if shown:
        table = Table(box=box.SIMPLE_HEAD)
        for head in shown[0].texts:
            table.add_column(head, overflow="fold")
        for head in shown[0].numbers:
            table.add_column(head, justify="right", no_wrap=True)
        for wrong in shown:
            table.add_row(*(Text(plain(cell)) for cell in wrong.cells))
        console.print(table)
    for line in (mistakes.summary, *mistakes.notes):
        console.print(Text(plain(line), style="dim"))
    if len(shown) < len(mistakes.found):
        rest = len(mistakes.found) - len(shown)
        console.print(Text(f"{rest:,} more are not shown: --top N shows more, --csv shows all", style="dim"))


def comma_separated(mistakes: Mistakes, count: int | None) -> str:
    """Returns a line for each image; probabilities are fractions of 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns(mistakes.kind))
    for wrong in mistakes.first(count):
        writer.writerow(text(value) if isinstance(value, str) else value for value in wrong.flat().values())
    return out.getvalue()


def as_json(mistakes: Mistakes, count: int | None) -> str:
    """Returns the run, the predictor, the class examined, and the first `count` images."""
    record = mistakes.record
    content = {
        "dataset": record.dataset,
        "method": record.method,
        "fingerprint": record.fingerprint,
        "seed": record.seed,
        "predictor": mistakes.predictor,
        "class": mistakes.label,
        "test_images": mistakes.images,
        "wrong": len(mistakes.found),
        "notes": list(mistakes.notes),
        "images": [wrong.nested() for wrong in mistakes.first(count)],
    }
    return json.dumps(content, indent=1) + "\n"
