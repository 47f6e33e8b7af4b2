"""Per-class tables of precision, recall and F1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltrun.metrics import Metric
from ltrun.report.confusion import Confusion
from ltrun.report.measure import Measure
from ltrun.report.table import Cell, Row, Table

HEADS = ("Class", "Training images", "Test images")
MEASURE = Measure(
    "per_class",
    "Precision, recall and F1 of each class",
    tuple(Metric(head.lower(), head, head, better=None) for head in ("Precision", "Recall", "F1")),
)


def per_class(found: Sequence[Confusion]) -> list[Table]:
    """Returns a table for each confusion, with a row for each class, most frequent first.

    Cells are in percent, with their standard deviation over the runs.
    """
    return [_table(confusion) for confusion in found]


def _table(confusion: Confusion) -> Table:
    rows = tuple(
        Row(
            names=(confusion.names[c], f"{confusion.images[c]:,}", f"{support:,}"),
            keys={
                **confusion.row.keys,
                "class": confusion.names[c],
                "training_images": str(confusion.images[c]),
                "test_images": str(support),
            },
            cells=tuple(
                Cell.of(column, (float(value) for value in values if not np.isnan(value)))
                for column, values in zip(MEASURE.columns, each.T, strict=True)
            ),
            runs=confusion.row.runs[: len(confusion.runs)],
            saw_test=False,
        )
        for c, support, each in confusion.by_class()
    )
    runs = len(confusion.runs)
    over = f": mean ± standard deviation (n - 1 in the denominator) over {runs} runs" if runs > 1 else ""
    dash = "A dash marks the precision of a class that is never predicted, and the recall of a class without test images."
    caption = f"{MEASURE.title} (%) on the test split{over}. {dash}"
    notes = confusion.table.notes if confusion.row.saw_test else ()
    return Table(confusion.title, HEADS, rows, MEASURE, confusion.table.split, notes, caption, confusion.heading)
