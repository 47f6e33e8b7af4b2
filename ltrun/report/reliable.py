"""Reliability of the rows of a table: confidences and right predictions of their runs by bin, from the stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ltrun.errors import LtrunError
from ltrun.evaluation.calibration import Reliability, confidences, reliability
from ltrun.metrics import SINGLE_LABEL
from ltrun.report.table import Row, Table
from ltrun.results.predictions import predictions_of


def reliabilities(table: Table, rows: Sequence[Row]) -> tuple[list[Reliability | None], int]:
    """Returns the bins of each row, over the images of all its runs, and the number of runs without readable predictions.

    A row is None without predictions. So are all, if images have several labels or the table shows another split than test.
    """
    lacking = 0
    found: list[Reliability | None] = []
    for row in rows:
        total: Reliability | None = None
        for record, predictor in row.runs:
            if record.task != SINGLE_LABEL or table.split != "test":
                continue
            try:
                read = predictions_of(record, record.path.parent if record.path else Path(), predictor)
            except LtrunError:
                lacking += 1
                continue
            bins = reliability(*confidences(read.labels, read.scores))
            total = bins if total is None else total + bins
        found.append(total)
    return found, lacking
