"""Per-class tables of precision, recall and F1, and of average precision for several labels per image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ltrun.metrics import Metric
from ltrun.report.confusion import Confusion
from ltrun.report.counted import Fractions
from ltrun.report.measure import Measure
from ltrun.report.table import Cell, Row, Table

HEADS = ("Class", "Training images", "Test images")
DECISIONS = tuple(Metric(head.lower(), head, head, better=None) for head in ("Precision", "Recall", "F1"))
ONE = Measure("per_class", "Precision, recall and F1 of each class", DECISIONS)
SEVERAL = Measure(
    "per_class",
    "Average precision (AP), precision, recall and F1 of each class",
    (Metric("ap", "Average precision", "AP", better=None), *DECISIONS),
)
DASHES = "A dash marks the precision of a class that is never predicted, and the recall of a class without test images."
RULE = "A class is predicted where its probability is above one half; an image counts in the row of each of its labels."


def per_class(found: Sequence[Confusion]) -> list[Table]:
    """Returns a table for each confusion, with a row for each class, most frequent first.

    Cells are in percent, with their standard deviation over the runs.
    """
    return [_table(confusion) for confusion in found]


def _table(confusion: Confusion) -> Table:
    measure = SEVERAL if confusion.several else ONE
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
                for column, values in zip(measure.columns, each.T, strict=True)
            ),
            runs=confusion.row.runs,
            saw_test=False,
        )
        for c, support, each in _by_class(confusion)
    )
    runs = len(confusion.runs)
    over = f": mean ± standard deviation (n - 1 in the denominator) over {runs} runs" if runs > 1 else ""
    said = [f"{measure.title} (%) on the test split{over}.", *([RULE] if confusion.several else []), DASHES]
    notes = confusion.table.notes if confusion.row.saw_test else ()
    return Table(confusion.title, HEADS, rows, measure, confusion.table.split, notes, " ".join(said), confusion.heading)


def _by_class(confusion: Confusion) -> Iterator[tuple[int, int, Fractions]]:
    """Yields what `by_class` does; for several labels, before precision, the average precision in each run's record."""
    if not confusion.several:
        yield from confusion.by_class()
        return
    kept = [record.predictors[name]["splits"][confusion.table.split]["per_class"] for record, name in confusion.row.runs]
    average = np.array(kept, dtype=float)  # (runs, C), nan for a class without test images
    for c, support, each in confusion.by_class():
        yield c, support, np.column_stack([average[:, c], each])
