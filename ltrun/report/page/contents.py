"""Content of the page as plain values: tables with every metric and split, and the details of each row."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ltrun.config.option import root
from ltrun.metrics import COMPARED, GROUPS, Shots, is_number
from ltrun.report.caption import shifted
from ltrun.report.collect import Problem
from ltrun.report.configurations import PREDICTOR
from ltrun.report.group import tables
from ltrun.report.measure import Measure, measures
from ltrun.report.page.details import Images, Lines, details
from ltrun.report.page.facts import facts
from ltrun.report.published import published_of
from ltrun.report.render.common import plain
from ltrun.report.sides import label_of
from ltrun.report.state import WORDS, State
from ltrun.report.table import Cell, Row, Table
from ltrun.results.record import EXPERT, RunRecord
from ltrun.taxonomy import SLOTS

BITS = 5_000_000  # characters of hits that the page may hold; beyond, comparisons know the seeds alone
DIGITS = 5  # significant digits of a number


@dataclass(frozen=True)
class Asked:
    """Words of the command: how rows are grouped, the metric and the split that the page shows first. lists: the folder of
    SADE's lists."""

    by: Sequence[str] = ()
    metric: str | None = None
    split: str = "test"
    experts: bool = False
    lists: Path | None = None


@dataclass(frozen=True)
class Found:
    """Runs below the folders: records of finished runs, the state of every run, and problems met. notes: on runs
    without the metric that the command names."""

    records: Sequence[RunRecord]
    states: Sequence[State] = ()
    problems: Sequence[Problem] = ()
    notes: Sequence[str] = ()


def contents(found: Found, asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the tables, and id of a row -> its details. Raises ConfigError for an unknown metric, split or key."""
    made = tables(found.records, None, asked.split, asked.by, asked.experts)
    if asked.metric is not None and found.records:
        tables(found.records, asked.metric, asked.split, asked.by, asked.experts)  # raises for one that no run has
    lines = Lines()
    told: dict[str, Any] = {}
    shown = []
    for table in made:
        images = Images()
        ids = [_id(table, row) for row in table.rows]
        told |= {mark: details(row, images, lines) for mark, row in zip(ids, table.rows, strict=True)}
        shown.append(_table(table, ids, found.states) | {"images": images.shown()})
    _limit(told)
    counts = Counter(state.state for state in found.states)
    begun = [state for state in found.states if state.state != "done"]
    whole = {
        "tables": shown,
        "lines": lines.found,
        "start": {"metric": asked.metric, "split": asked.split},
        "counts": {word: counts[word] for word in WORDS if counts[word]},
        "begun": [_state(state) for state in begun],
        "problems": [_told(problem) for problem in found.problems if problem.kind not in ("unfinished", "failed")],
        "groups": GROUPS,
    }
    return whole, told


def _told(problem: Problem) -> str:
    return _nearby(problem.text, problem.path, 5)


def _nearby(text: str, path: Path, steps: int) -> str:
    """Returns a sentence with the last steps of a path alone: those above say nothing to a reader of the page."""
    return plain(text.replace(str(path), "/".join(path.parts[-steps:])))


def _state(state: State) -> dict[str, Any]:
    words = {"state": state.state, **{key: _nearby(getattr(state, key), state.folder, 4) for key in ("title", "reason")}}
    return words | {"epoch": state.epoch, "epochs": state.epochs, "left": None if state.left is None else round(state.left)}


def _id(table: Table, row: Row) -> str:
    """Returns a name of the row that stays when the page is written again."""
    said = "\n".join([table.title, *(f"{key}={value}" for key, value in row.keys.items())])
    return f"r{hashlib.sha256(said.encode()).hexdigest()[:10]}"


def _limit(told: Mapping[str, dict[str, Any]]) -> None:
    """Drops all hits if the page would be too large for them."""
    if sum(len(bits) for each in told.values() for bits in each["hits"].values()) > BITS:
        for each in told.values():
            each["hits"] = {}


def _table(table: Table, ids: Sequence[str], states: Sequence[State]) -> dict[str, Any]:
    records = [record for row in table.rows for record, _ in row.runs]
    first = records[0]
    shots = Shots.of(first.config)
    counts = first.classes["counts"]
    alike = len({tuple(record.classes["counts"]) for record in records}) == 1
    wanted = _measures(records)
    labels = Counter(map(label_of, table.rows))
    return {
        "title": plain(table.title),
        "word": shlex.quote(plain(table.title)),
        "heading": plain(table.heading),
        "task": first.task,
        "heads": [plain(head) for head in table.heads],
        "notes": [plain(note) for note in table.notes if "bold" not in note],
        "facts": [[name, plain(text)] for name, text in facts(records)],
        "classes": {
            "names": [plain(name) for name in first.classes["names"]],
            "counts": counts,
            "groups": [list(GROUPS).index(shots.group(count)) for count in counts],
            "alike": alike,
        },
        "ranges": shots.ranges(),
        "metrics": {name: _metric(measure, records) for name, measure in wanted.items()},
        "splits": sorted({split for row in table.rows for split in _splits(row)}, key=lambda split: (split != "test", split)),
        "best": _best(table, wanted),
        "rows": [
            _row(row, mark, wanted, _planned(row, table, states)) | {"word": _word(row, labels)}
            for row, mark in zip(table.rows, ids, strict=True)
        ],
    }


def _measures(records: Sequence[RunRecord]) -> dict[str, Measure]:
    """Returns name -> measure of the task, further metrics of the records, and the costs as one."""
    return {name: measure for name, measure in measures(records).items() if not measure.cost or name == "cost"}


def _metric(measure: Measure, records: Sequence[RunRecord]) -> dict[str, Any]:
    """Returns the columns of a measure. told: sentences on its test sets. compared: whether `ltrun compare` takes it."""
    columns = [
        {"key": c.key, "head": plain(c.head), "group": c.group, "better": c.metric.better, "percent": c.metric.percent}
        for c in measure.columns
    ]
    first = measure.metrics[0]
    told = list(shifted(records, "test")) if measure.name == "shifts" else []
    return {
        "title": plain(measure.title),
        "cost": measure.cost,
        "columns": columns,
        "of_class": first.of_class or first.title,
        "told": [plain(sentence) for sentence in told],
        "compared": measure.name in COMPARED[records[0].task],
    }


def _splits(row: Row) -> list[str]:
    return list(dict.fromkeys(split for record, name in row.runs for split in record.predictors[name]["splits"]))


def _best(table: Table, wanted: Mapping[str, Measure]) -> dict[str, dict[str, list[Any]]]:
    """Returns split -> metric -> for each column [best row, second row, verdict], or null."""
    found: dict[str, dict[str, list[Any]]] = defaultdict(dict)
    for split in {split for row in table.rows for split in _splits(row)}:
        for name, measure in wanted.items():
            rows = tuple(replace(row, cells=_cells(row, measure, split)) for row in table.rows)
            seen = replace(table, rows=rows, measure=measure)
            verdicts = [seen.verdict(i) for i in range(len(measure.columns))]
            if any(verdicts):
                found[split][name] = [[each.best, each.second, each.kind] if each else None for each in verdicts]
    return found


def _values(row: Row, measure: Measure, split: str) -> list[Mapping[str, Any]]:
    if measure.cost:
        return [record.provenance if name == record.headline else {} for record, name in row.runs]
    return [record.predictors[name]["splits"].get(split, {}) for record, name in row.runs]


def _cells(row: Row, measure: Measure, split: str) -> tuple[Cell, ...]:
    each = _values(row, measure, split)
    return tuple(Cell.of(column, [values.get(column.key) for values in each]) for column in measure.columns)


def _planned(row: Row, table: Table, states: Sequence[State]) -> int:
    """Returns the number of seeds that the row is to have: as many as another row has, or as are begun."""
    marks = {(record.method, record.fingerprint) for record, _ in row.runs}
    begun = {state.folder for state in states if state.state != "done" and state.folder.parts[-3:-1] in marks}
    return max(row.n + len(begun), *(other.n for other in table.rows))


def _word(row: Row, labels: Mapping[str, int]) -> str | None:
    """Returns the word for a row on the command line of `ltrun compare`; None for a row of several configurations
    and for a single expert. labels: label -> the number of rows that have it."""
    predictor = row.keys.get(PREDICTOR, EXPERT)
    if "fingerprint" not in row.keys or predictor.startswith(EXPERT):
        return None
    label = label_of(row)
    if "/" not in label and labels[label] == 1:
        return shlex.quote(plain(label))
    return row.keys["fingerprint"] + (f":{predictor}" if predictor != row.runs[0][0].headline else "")


def _row(row: Row, mark: str, wanted: Mapping[str, Measure], planned: int) -> dict[str, Any]:
    record, predictor = row.runs[0]
    told = published_of(row)
    values: dict[str, dict[str, list[Any]]] = {}
    for split in ["", *_splits(row)]:  # the costs have no split
        measured = [measure for measure in wanted.values() if measure.cost == (split == "")]
        each = {column: _numbers(row, measure, split, column) for measure in measured for column in measure.columns}
        values[split] = {column.key: found for column, found in each.items() if any(v is not None for v in found)}
    return {
        "id": mark,
        "names": [plain(name) for name in row.names],
        "slots": {slot: option for slot in SLOTS if (option := record.choices.get(slot)) not in usual(slot)},
        "predictor": plain(predictor),
        "seeds": [record.seed for record, _ in row.runs],
        "of": planned,
        "saw": row.saw_test,
        "values": values,
        "published": told and {"number": told.number, "gap": told.difference, "text": plain(told.text),
                               "recipe": plain(told.recipe), "changes": plain(told.changes)},
    }  # fmt: skip


def _numbers(row: Row, measure: Measure, split: str, column: Any) -> list[float | None]:
    found = (values.get(column.key) for values in _values(row, measure, split))
    return [short(column.metric.shown(value, column.key)) if is_number(value) else None for value in found]


@cache
def usual(slot: str) -> tuple[str | None, ...]:
    """Returns the options of a slot that a row need not name."""
    return None, "none", root()[1].get(slot)


def short(value: float) -> float:
    """Returns a number with few digits, because the page holds many of them."""
    return float(f"{value:.{DIGITS}g}")
