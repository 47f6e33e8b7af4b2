"""Tables as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ltrun.report.render.common import plain
from ltrun.report.table import Table


def comma_separated(tables: Sequence[Table]) -> str:
    """One line a number: what it is, mean and standard deviation (percent, unrounded; empty where there is none), n."""
    keys = list(dict.fromkeys(key for table in tables for row in table.rows for key in row.keys))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", *keys, "saw_test_inputs", "split", "metric", "group", "mean", "std", "n"])
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                where = [plain(table.title), *(plain(row.keys.get(key, "")) for key in keys), str(row.saw_test).lower()]
                what = [plain(table.split), plain(table.measure.name), plain(column.lower())]
                writer.writerow([*where, *what, cell.mean, cell.std, cell.n])
    return out.getvalue()
