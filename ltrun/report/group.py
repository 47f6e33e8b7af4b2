"""From records to tables of numbers: which runs share a row, and their mean and standard deviation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import NamedTuple

from ltrun.errors import ConfigError, did_you_mean
from ltrun.metrics import TASKS
from ltrun.report.caption import caption_of
from ltrun.report.data import note, parted
from ltrun.report.facts import FACTS, difference, fact, label_of, leaves, title_of
from ltrun.report.measure import Measure, measure_of
from ltrun.report.table import DAGGER, DASH, Cell, Row, Scored, Table
from ltrun.results.record import RunRecord

SAW = "test_inputs"
NOTE = f"{DAGGER} saw test inputs"
PREDICTOR = "predictor"


Scope = tuple[str, str, tuple[tuple[str, int], ...]]  # title, task, and the classes with their sizes


class Group(NamedTuple):
    """The runs that share a row. names: one for each head. keys: what the row stands for."""

    names: tuple[str, ...]
    keys: dict[str, str]
    runs: list[Scored]


def tables(records: Sequence[RunRecord], metric: str | None = None, split: str = "test", by: Sequence[str] = ()) -> list[Table]:
    """One table for each data set and task, and for each way in which the data set's own keys were overridden: the same
    images, as far as the records tell, of the same classes. metric: a name, or None for the first of the task.

    Without `by`, a row is a method with one configuration, averaged over seeds: erm first, then by label, further
    predictors beneath their method. With `by`, a row is one combination of those keys (data set, method, seed,
    fingerprint, predictor, a slot, or a dotted key of the configuration), averaged over everything else; the predictor is then
    the one that stands for the method, unless it is among the keys. Raises ConfigError.
    """
    _check(records, split, by)
    measured = {task: measure_of(records, metric or TASKS[task][0].name) for task in {record.task for record in records}}
    scopes: dict[Scope, list[RunRecord]] = defaultdict(list)
    for record in records:
        classes = () if "dataset" in by else zip(record.classes["names"], record.classes["counts"], strict=True)
        scopes[title_of(record, by), record.task, tuple(classes)].append(record)
    made = []
    whole = any(key.partition(".")[0] == "dataset" for key in by)  # then the data of rows differ by what they are grouped by
    for title, task, members, told in _by_data(scopes, whole):
        groups, notes = (_by_keys(members, by), told) if by else _by_configuration(members, told)
        rows = tuple(row for group in groups if (row := _row(group, measured[task], split)))
        if any(row.saw_test for row in rows):
            notes = [*notes, NOTE]
        if rows:
            table = Table(title, tuple(by) or ("Method",), rows, measured[task], split, tuple(notes))
            made.append(replace(table, caption=caption_of(table, members, by)))
    return made


def _by_data(scopes: Mapping[Scope, list[RunRecord]], whole: bool) -> Iterator[tuple[str, str, list[RunRecord], list[str]]]:
    """Title, task, runs and notes of each table: a table never has runs of different data, unless it is to be left whole."""
    for (title, task, _), members in sorted(scopes.items(), key=lambda item: item[0]):
        parts = {} if whole else parted(members)
        if len(parts) < 2:
            yield title, task, members, []
            continue
        told = [note(title, [some[0] for some in parts.values()])]
        for mark, some in sorted(parts.items()):
            yield f"{title} (data {mark})", task, some, told


def _by_configuration(records: list[RunRecord], notes: list[str]) -> tuple[list[Group], list[str]]:
    """A configuration is a row, even where its label is that of another; a note then says what tells them apart."""
    same: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        same[record.method, record.fingerprint].append(record)
    labels: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, members in same.items():
        labels[min((label_of(record) for record in members), key=len)].append(key)
    groups: list[Group] = []
    notes = list(notes)
    for label, keys in sorted(labels.items(), key=lambda item: (same[item[1][0]][0].method != "erm", item[0])):
        if len(keys) > 1:
            notes.append(difference(label, {key[1]: same[key][0] for key in sorted(keys)}))
        for method, mark in sorted(keys):
            name = f"{label} ({mark})" if len(keys) > 1 else label
            members = same[method, mark]
            headline = members[0].headline
            for predictor in dict.fromkeys([headline, *(p for record in members for p in record.predictors)]):
                shown = name if predictor == headline else f"{name} · {predictor}"
                runs = [(record, predictor) for record in members if predictor in record.predictors]
                groups.append(Group((shown,), {"method": label, "fingerprint": mark, PREDICTOR: predictor}, runs))
    return groups, notes


def _by_keys(records: list[RunRecord], by: Sequence[str]) -> list[Group]:
    groups: dict[tuple[str, ...], list[Scored]] = defaultdict(list)
    for record in records:
        shown = {key: fact(record, key) or DASH for key in by}
        for predictor in record.predictors if PREDICTOR in by else [record.headline]:
            groups[tuple(predictor if key == PREDICTOR else shown[key] for key in by)].append((record, predictor))
    ordered = sorted(groups.items(), key=lambda item: [_natural(name) for name in item[0]])
    return [group for names, runs in ordered for group in _groups_by_data(names, dict(zip(by, names, strict=True)), runs)]


def _groups_by_data(names: tuple[str, ...], keys: dict[str, str], runs: list[Scored]) -> Iterator[Group]:
    """A row never has runs of different data, also where its table has."""
    parts = parted(record for record, _ in runs)
    for mark, records in sorted(parts.items()):
        shown = names if len(parts) == 1 else (*names[:-1], f"{names[-1]} (data {mark})")
        own = {id(record) for record in records}
        yield Group(shown, keys, [scored for scored in runs if id(scored[0]) in own])


def _row(group: Group, measure: Measure, split: str) -> Row | None:
    """None where no run was evaluated on the split, and for the cost of further predictors, which is their training's."""
    names, runs = group.names, group.runs
    if measure.cost:
        runs = [(record, name) for record, name in runs if name == record.headline]
        found = [record.provenance for record, _ in runs]
    else:
        runs = [(record, name) for record, name in runs if split in record.predictors[name]["splits"]]
        found = [record.predictors[name]["splits"][split] for record, name in runs]
    if not runs:
        return None
    saw_test = not measure.cost and any(SAW in record.predictors[name]["sees"] for record, name in runs)
    if saw_test:
        names = (*names[:-1], f"{names[-1]} {DAGGER}")
    cells = tuple(Cell.of(column, [each.get(column.key) for each in found]) for column in measure.columns)
    return Row(names, group.keys, cells, tuple(runs), saw_test)


def _check(records: Sequence[RunRecord], split: str, by: Sequence[str]) -> None:
    splits = {name for record in records for predictor in record.predictors.values() for name in predictor["splits"]}
    if records and split not in splits:
        raise ConfigError(f"no run was evaluated on '{split}'{did_you_mean(split, splits)}")
    for key in by:
        if key != PREDICTOR and all(fact(record, key) is None for record in records):
            slots = {PREDICTOR, *FACTS, *(slot for record in records for slot in record.choices)}
            near = get_close_matches(key, slots.union(*(leaves(record.config) for record in records)), n=1, cutoff=0.6)
            raise ConfigError(f"no run has a key '{key}' to group by{did_you_mean(key, near or slots)}")


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by size, before names."""
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)
