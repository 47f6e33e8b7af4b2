"""Terminal, CSV and JSON rendering of wrong images."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, fields

from ltrun import streams
from ltrun.report.render.common import plain
from ltrun.report.render.csv import text
from ltrun.report.wrong import Mistakes, Wrong


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
        for head in ("Image", "Label", "Predicted"):
            table.add_column(head, overflow="fold")
        for head in ("Probability", "of the label"):
            table.add_column(head, justify="right", no_wrap=True)
        for wrong in shown:
            names = (wrong.name, wrong.label, wrong.predicted)
            table.add_row(*(Text(plain(name)) for name in names), percent(wrong.probability), percent(wrong.of_label))
        console.print(table)
    for line in (mistakes.summary, *mistakes.notes):
        console.print(Text(plain(line), style="dim"))
    if len(shown) < len(mistakes.found):
        rest = len(mistakes.found) - len(shown)
        console.print(Text(f"{rest:,} more are not shown: --top N shows more, --csv shows all", style="dim"))


def percent(share: float) -> str:
    """Returns a fraction of 1 as `93.1%`."""
    return f"{100 * share:.1f}%"


def comma_separated(mistakes: Mistakes, count: int | None) -> str:
    """Returns a line for each image; probabilities are fractions of 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(field.name for field in fields(Wrong))
    for wrong in mistakes.first(count):
        writer.writerow(text(value) if isinstance(value, str) else value for value in asdict(wrong).values())
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
        "images": [asdict(wrong) for wrong in mistakes.first(count)],
    }
    return json.dumps(content, indent=1) + "\n"
