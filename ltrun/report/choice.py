"""Choice of a method by its validation images: a table with costs, and the sentence that says which to take."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from ltrun.metrics import BALANCED, COST, GROUPS, SINGLE_LABEL, is_number
from ltrun.report.group import tables
from ltrun.report.measure import Measure
from ltrun.report.table import Cell, Row, Table
from ltrun.results.record import RunRecord
from ltrun.statistics.means import interval

SPLIT = "val"  # classes count alike: validation images may be as long-tailed as training images
SECONDS = next(metric for metric in COST if metric.name == "seconds")
LEAST = 0.05  # points; less is printed as 0.0


def with_costs(records: Sequence[RunRecord]) -> list[Table]:
    """Returns tables of the balanced metric on the validation split, with the time of training. Raises ConfigError."""
    found = []
    measured = {task: [record for record in records if record.task == task] for task in BALANCED}
    for table in (table for task, some in measured.items() if some for table in tables(some, BALANCED[task], SPLIT)):
        measure = Measure(table.measure.name, table.measure.title, (*table.measure.metrics, SECONDS))
        rows = tuple(replace(row, cells=(*row.cells, _cost(row))) for row in table.rows)
        found.append(replace(table, rows=rows, measure=measure))
    return found


def choice(table: Table) -> str:
    """Returns one sentence: the row to take, how sure its lead is, and what it changes for the tail and the head.

    The row has the highest mean on the validation split, as printed, of the rows that saw no test inputs; of equal ones, it is
    the cheapest. The interval of a lead is of its mean over common seeds, by Student's t.
    """
    rows = [row for row in table.rows if not row.saw_test and row.cells[0].mean is not None]
    if not rows:
        return "No method was measured on validation images, so none can be chosen."
    names = _names(rows)
    best, *others = sorted(rows, key=lambda row: (-_printed(row), _cost(row).mean or 0.0))
    plain = next((row for row in rows if _is_plain(row)), None)
    tested = _by_seed(best, "test").values()
    on_test = f" ({math.fsum(tested) / len(tested):.1f}% on the test split, which chose nothing)" if tested else ""
    method = best.runs[0][0].method
    what = "a mean over classes" if best.runs[0][0].task == SINGLE_LABEL else table.measure.title.lower()
    share = f"{_printed(best):.1f}% on the validation split as {what}{on_test}"
    clauses = [f"Take {names[best.names]} (method={method}): {share}"]
    clauses.append(_lead(best, others[0], names[others[0].names]) if others else "there is no other method to compare it with")
    if plain is best:
        clauses.append("no other method is better than plain training")
    elif plain is not None:
        clauses.append(_exchange(best, plain, names[plain.names]))
    return "; ".join(clauses) + "."


def _lead(best: Row, second: Row, name: str) -> str:
    """Returns the clause on the difference of the best two rows. name: of the second."""
    if _printed(best) == _printed(second):
        return f"{name} is equal as printed, and not cheaper"
    pairs = [(value, other) for seed, value in _by_seed(best).items() if (other := _by_seed(second).get(seed)) is not None]
    differences = [one - other for one, other in pairs]
    found = interval(differences)
    lead = f"its lead over {name}, the second, is"
    if found is None:
        shared = "one seed shows" if len(pairs) == 1 else "seeds that differ show"
        return f"{lead} {_printed(best) - _printed(second):.1f} points, with an unknown interval, because {shared} no noise"
    low, high = found
    chance = "chance may explain it" if low <= 0 else "chance hardly explains it"
    mean = sum(differences) / len(differences)
    return f"{lead} {mean:.1f} points, with a 95% interval of {low:.1f} to {high:.1f} over {len(pairs)} seeds, so {chance}"


def _exchange(best: Row, plain: Row, name: str) -> str:
    """Returns the clause on what the tail gains and the head loses against plain training, its `name`, and at which cost."""
    words = []
    many, _, few = GROUPS
    for group, whose in ((few, "the tail"), (many, "the head")):
        place = 1 + list(GROUPS).index(group)
        one, other = best.cells[place].mean, plain.cells[place].mean
        if one is None or other is None:
            words.append(f"there are no {group}-shot classes")
        elif abs(one - other) < LEAST:
            words.append(f"{whose} ({group}-shot classes) stays as it is")
        else:
            words.append(f"{whose} ({group}-shot classes) {'gains' if one > other else 'loses'} {abs(one - other):.1f} points")
    cost, before = _cost(best).mean, _cost(plain).mean
    times = f", at {cost / before:.1f} times the time of training" if cost and before else ""
    return f"against {name}, {' and '.join(words)}{times}"


def _printed(row: Row) -> float:
    cell = row.cells[0]
    return float(cell.text(cell.mean or 0.0))


def _cost(row: Row) -> Cell:
    return Cell.of(Measure.of(SECONDS).columns[0], [record.provenance.get(SECONDS.name) for record, _ in row.runs])


def _by_seed(row: Row, split: str = SPLIT) -> dict[int, float]:
    """Returns seed -> value of the metric on a split, in percent."""
    found = {
        record.seed: record.predictors[name]["splits"].get(split, {}).get(BALANCED[record.task]) for record, name in row.runs
    }
    return {seed: 100 * value for seed, value in found.items() if is_number(value)}


def _is_plain(row: Row) -> bool:
    record, predictor = row.runs[0]
    return record.method == "erm" and predictor == "plain"


def _names(rows: Sequence[Row]) -> dict[tuple[str, ...], str]:
    """Returns names of a row -> its name in a sentence: without its changes, `erm · ncm`, where that still names one row."""
    short = {row.names: re.sub(r" \[.*\](?= · |$)", "", ", ".join(row.names)) for row in rows}
    found = list(short.values())
    return {names: name if found.count(name) == 1 else ", ".join(names) for names, name in short.items()}
