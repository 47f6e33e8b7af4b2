"""CSV rendering of tables and confusion matrices."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ltrun.metrics import GROUPS
from ltrun.report.render.common import plain
from ltrun.report.table import DASH, Table

if TYPE_CHECKING:
    from ltrun.report.confusion import Confusion

FORMULA = "=+-@"  # first characters of cells that a spreadsheet would compute


def comma_separated(tables: Sequence[Table]) -> str:
    """Returns one line for each number: its names and keys, mean and standard deviation (percent, unrounded, may be empty), n.

    Column `name` is the row as printed. The columns of keys after it are as typed, with `method` as the command line names it.
    """
    keys = list(dict.fromkeys(key for table in tables for row in table.rows for key in row.keys))
    beside = list(dict.fromkeys(head.lower() for table in tables for head in table.beside))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    numbers = ["mean", "std", "n", *beside]
    writer.writerow(["table", "name", *map(text, keys), "saw_test_inputs", "split", "metric", "group", *numbers])
    for table in tables:
        for row in table.rows:
            for i, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
                where = [table.title, ", ".join(row.names), *(row.keys.get(key, "") for key in keys)]
                what = [str(row.saw_test).lower(), table.split, table.measure.name, column.lower()]
                told = [_bare(word) if i == 0 else "" for word in row.beside]
                writer.writerow([*map(text, (*where, *what)), cell.mean, cell.std, cell.n, *told])
    return out.getvalue()


def _bare(word: str) -> str:
    """Returns a number of a table as other programs read it; empty for a dash."""
    return "" if word == DASH else text(word.replace("\N{MINUS SIGN}", "-").rstrip("*"))


def matrix(confusion: Confusion) -> Iterator[str]:
    """Yields fractions of each label's test images: a line a label, a column a prediction, both by class size."""
    order, names = confusion.order.tolist(), [text(name) for name in confusion.names]
    keys = list(GROUPS)
    yield _line(["label", "training_images", "group", *(names[c] for c in order)])
    for c, shares in zip(order, confusion.rows(), strict=True):
        values = ["" if share != share else f"{share:.6g}" for share in shares]
        yield _line([names[c], confusion.images[c], keys[confusion.groups[c]], *values])


def _line(values: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


def text(name: str) -> str:
    """Quotes a name that a spreadsheet would take for a formula; numbers stay as they are."""
    shown = plain(name)
    try:
        float(shown)
    except ValueError:
        return f"'{shown}" if shown.startswith(tuple(FORMULA)) else shown
    return shown
