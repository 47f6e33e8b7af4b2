"""Tables as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ltrun.report.render.common import plain
from ltrun.report.table import Table

FORMULA = "=+-@"  # a spreadsheet would compute a cell that begins so


def comma_separated(tables: Sequence[Table]) -> str:
    """One line a number: what it is, mean and standard deviation (percent, unrounded; empty where there is none), n.

    name: the row as it is printed. The keys after it are as typed, with the machine's name of a method.
    """
    keys = list(dict.fromkeys(key for table in tables for row in table.rows for key in row.keys))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "name", *map(_text, keys), "saw_test_inputs", "split", "metric", "group", "mean", "std", "n"])
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                where = [table.title, ", ".join(row.names), *(row.keys.get(key, "") for key in keys)]
                what = [str(row.saw_test).lower(), table.split, table.measure.name, column.lower()]
                writer.writerow([*map(_text, (*where, *what)), cell.mean, cell.std, cell.n])
    return out.getvalue()


def _text(text: str) -> str:
    """A name of anyone's, which no spreadsheet takes for a formula; a number stays one."""
    text = plain(text)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(tuple(FORMULA)) else text
    return text
