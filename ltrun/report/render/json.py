"""JSON rendering of tables, for programs: unrounded numbers, and the runs of each row.

    {"format": 1, "tables": [table, ...]}
    table    title: the data set and its changes, as typed; heading: the title with the data set's name in papers; task, split;
             metric: {name, title}; keys: names of the keys that tell rows apart; caption, notes: text; columns, rows
    column   key, head, unit: "%" or null; better: "higher", "lower" or null; best: null if there is nothing to compare, else
             {row, second: indices in rows; p: p-value of their difference, null if either is a single run; verdict: "better",
             "within noise", "one run", or "equal" for means that are printed alike}
    row      names: as printed; keys: key -> value as typed, with `method` as the command line names it; saw_test_inputs; n:
             number of runs; cells: one for each column, {mean, std, n, values}: values of the single runs, std with n - 1 in
             the denominator, null for no number; runs: {dataset, method, seed, fingerprint, predictor, path: of the result,
             or null} for each run

A new key leaves `format` unchanged; removing a key or changing its meaning raises it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ltrun.report.table import Row, Table

FORMAT = 1


def as_json(tables: Sequence[Table]) -> str:
    """Returns valid JSON: ASCII, without NaN."""
    return json.dumps({"format": FORMAT, "tables": [_table(table) for table in tables]}, indent=1, allow_nan=False) + "\n"


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "heading": table.heading,
        "task": table.rows[0].runs[0][0].task,
        "split": table.split,
        "metric": {"name": table.measure.name, "title": table.measure.title},
        "keys": list(table.rows[0].keys),
        "caption": table.caption,
        "notes": list(table.notes),
        "columns": [_column(table, i) for i in range(len(table.columns))],
        "rows": [{**_row(row), **dict(zip(map(str.lower, table.beside), row.beside, strict=True))} for row in table.rows],
    }


def _column(table: Table, index: int) -> dict[str, Any]:
    column, found = table.measure.columns[index], table.verdict(index)
    return {
        "key": column.key,
        "head": column.head,
        "unit": "%" if column.metric.percent else None,
        "better": column.metric.better,
        "best": found and {"row": found.best, "second": found.second, "p": found.p, "verdict": found.kind},
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "names": list(row.names),
        "keys": dict(row.keys),
        "saw_test_inputs": row.saw_test,
        "n": row.n,
        "cells": [{"mean": cell.mean, "std": cell.std, "n": cell.n, "values": list(cell.values)} for cell in row.cells],
        "runs": [
            {
                "dataset": record.dataset,
                "method": record.method,
                "seed": record.seed,
                "fingerprint": record.fingerprint,
                "predictor": predictor,
                "path": record.path and str(record.path),
            }
            for record, predictor in row.runs
        ],
    }
