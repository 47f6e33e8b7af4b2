"""From records to tables of numbers: which runs share a row, and their mean and standard deviation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from ltrun.errors import ConfigError, did_you_mean
from ltrun.report.caption import caption_of
from ltrun.report.table import DAGGER, DASH, METRICS, UNITS, Cell, Metric, Row, Scored, Table
from ltrun.results.address import as_typed, inert_keys, labelled
from ltrun.results.record import RunRecord

SAW = "test_inputs"
NOTE = f"{DAGGER} saw test inputs"
FACTS: dict[str, Callable[[RunRecord], str]] = {
    "method": lambda record: record.method,
    "dataset": lambda record: record.dataset,
    "seed": lambda record: str(record.seed),
    "fingerprint": lambda record: record.fingerprint,
}
PREDICTOR = "predictor"


def tables(records: Sequence[RunRecord], metric: str = "accuracy", split: str = "test", by: Sequence[str] = ()) -> list[Table]:
    """One table for each data set, and for each way in which its own keys were overridden: the same classes, of the same sizes.

    Without `by`, a row is a method with one configuration, averaged over seeds: erm first, then by label, further
    predictors beneath their method. With `by`, a row is one combination of those keys (data set, method, seed,
    fingerprint, predictor, a slot, or a dotted key of the configuration), averaged over everything else; the predictor is then
    the one that stands for the method, unless it is among the keys. Raises ConfigError.
    """
    _check(records, metric, split, by)
    scopes: dict[tuple[str, tuple[tuple[str, int], ...]], list[RunRecord]] = defaultdict(list)
    for record in records:
        classes = () if "dataset" in by else zip(record.classes["names"], record.classes["counts"], strict=True)
        scopes[_title(record, by), tuple(classes)].append(record)
    made = []
    for (title, _), members in sorted(scopes.items(), key=lambda item: item[0]):
        groups, notes = (_by(members, by), []) if by else _by_configuration(members)
        rows = tuple(row for names, keys, runs in groups if (row := _row(names, keys, runs, metric, split)))
        if any(row.saw_test for row in rows):
            notes = [*notes, NOTE]
        if rows:
            heads, columns = tuple(by) or ("Method",), tuple(METRICS[metric].columns)
            table = Table(title, heads, columns, rows, metric, split, "", tuple(notes))
            made.append(replace(table, caption=caption_of(table, members, by)))
    return made


Groups = list[tuple[tuple[str, ...], dict[str, str], list[Scored]]]  # names of a row, its keys, its runs


def _by_configuration(records: list[RunRecord]) -> tuple[Groups, list[str]]:
    """A configuration is a row, even where its label is that of another; a note then says what tells them apart."""
    same: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        same[record.method, record.fingerprint].append(record)
    labels: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, members in same.items():
        labels[min((_label(record) for record in members), key=len)].append(key)
    groups: Groups = []
    notes = []
    for label, keys in sorted(labels.items(), key=lambda item: (same[item[1][0]][0].method != "erm", item[0])):
        if len(keys) > 1:
            notes.append(_difference(label, {key[1]: same[key][0] for key in sorted(keys)}))
        for method, mark in sorted(keys):
            name = f"{label} ({mark})" if len(keys) > 1 else label
            members = same[method, mark]
            headline = members[0].headline
            for predictor in dict.fromkeys([headline, *(p for record in members for p in record.predictors)]):
                shown = name if predictor == headline else f"{name} · {predictor}"
                runs = [(record, predictor) for record in members if predictor in record.predictors]
                groups.append(((shown,), {"method": label, "fingerprint": mark, PREDICTOR: predictor}, runs))
    return groups, notes


def _by(records: list[RunRecord], by: Sequence[str]) -> Groups:
    groups: dict[tuple[str, ...], list[Scored]] = defaultdict(list)
    for record in records:
        shown = {key: _shown(record, key) or DASH for key in by}
        for predictor in record.predictors if PREDICTOR in by else [record.headline]:
            groups[tuple(predictor if key == PREDICTOR else shown[key] for key in by)].append((record, predictor))
    ordered = sorted(groups.items(), key=lambda item: [_natural(name) for name in item[0]])
    return [(names, dict(zip(by, names, strict=True)), runs) for names, runs in ordered]


def _row(names: tuple[str, ...], keys: dict[str, str], runs: list[Scored], metric: str, split: str) -> Row | None:
    if METRICS[metric].cost:
        return _cost(names, keys, [run for run in runs if run[1] == run[0].headline], METRICS[metric])
    runs = [(record, name) for record, name in runs if split in record.predictors[name]["splits"]]
    if not runs:
        return None
    measured = [record.predictors[name]["splits"][split] for record, name in runs]
    saw_test = any(SAW in record.predictors[name]["sees"] for record, name in runs)
    if saw_test:
        names = (*names[:-1], f"{names[-1]} {DAGGER}")
    chosen = METRICS[metric]
    cells = []
    for key in chosen.columns.values():
        values = [metrics[key] for metrics in measured if metrics[key] is not None]
        cells.append(Cell(tuple(100 * (1 - value if key in chosen.complement else value) for value in values)))
    return Row(names, keys, tuple(cells), tuple(runs), saw_test)


def _cost(names: tuple[str, ...], keys: dict[str, str], runs: list[Scored], metric: Metric) -> Row | None:
    """The row of a training; further predictors of it cost nothing and have none."""
    found = [[record.provenance.get(key) for record, _ in runs] for key in metric.columns.values()]
    units = [UNITS.get(key, 1) for key in metric.columns.values()]
    cells = [
        Cell(tuple(unit * value for value in values if isinstance(value, (int, float))), percent=False)
        for unit, values in zip(units, found, strict=True)
    ]
    return Row(names, keys, tuple(cells), tuple(runs), saw_test=False) if runs else None


def _check(records: Sequence[RunRecord], metric: str, split: str, by: Sequence[str]) -> None:
    if metric not in METRICS:
        raise ConfigError(f"there is no metric '{metric}'{did_you_mean(metric, METRICS)}")
    splits = {name for record in records for predictor in record.predictors.values() for name in predictor["splits"]}
    if records and split not in splits:
        raise ConfigError(f"no run was evaluated on '{split}'{did_you_mean(split, splits)}")
    for key in by:
        if key != PREDICTOR and all(_shown(record, key) is None for record in records):
            slots = {PREDICTOR, *FACTS, *(slot for record in records for slot in record.choices)}
            near = get_close_matches(key, slots.union(*(leaves(record.config) for record in records)), n=1, cutoff=0.6)
            raise ConfigError(f"no run has a key '{key}' to group by{did_you_mean(key, near or slots)}")


def _shown(record: RunRecord, key: str) -> str | None:
    """What a record has for a fact, a slot or a dotted key of its configuration, as text; None for nothing."""
    if key in FACTS:
        return FACTS[key](record)
    if key in record.choices:
        return record.choices[key]
    node: Any = record.config
    for step in key.split("."):
        if not isinstance(node, Mapping) or step not in node:
            return None
        node = node[step]
    return None if isinstance(node, Mapping) else as_typed(node)


def leaves(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted path -> value as text. Lists are leaves."""
    flat: dict[str, str] = {}
    rest: list[tuple[str, Any]] = [("", config)]
    while rest:
        path, node = rest.pop()
        if isinstance(node, Mapping):
            rest.extend((f"{path}.{key}" if path else str(key), value) for key, value in node.items())
        else:
            flat[path] = as_typed(node)
    return flat


def _title(record: RunRecord, by: Sequence[str]) -> str:
    """The data set and what was changed of it: `cifar100_lt [imbalance=50]`."""
    untold = (*by, *inert_keys(record.config))
    changes = {key: value for key, value in record.changes.items() if _of_dataset(key) and key not in untold}
    name = "all data sets" if "dataset" in by else record.dataset
    return labelled(name, {key.removeprefix("dataset."): value for key, value in changes.items()})


def _label(record: RunRecord) -> str:
    return labelled(record.method, {key: value for key, value in record.changes.items() if not _of_dataset(key)})


def _of_dataset(key: str) -> bool:
    return key.startswith("dataset.")


def _difference(label: str, records: Mapping[str, RunRecord]) -> str:
    """`erm stands for 2 configurations, which differ in optimizer.lr: 0.1 (1a2b3c4d), 0.2 (5e6f7a8b)`."""
    flat = {mark: leaves(record.config) for mark, record in records.items()}
    keys = sorted(set().union(*flat.values()))
    inert = frozenset().union(*(inert_keys(record.config) for record in records.values()))
    differing = [key for key in keys if key not in inert and len({each.get(key) for each in flat.values()}) > 1]
    told = [f"{key}: " + ", ".join(f"{each.get(key, DASH)[:40]} ({mark})" for mark, each in flat.items()) for key in differing]
    shown = "; ".join(told[:3]) + (f" and {len(told) - 3} more keys" if len(told) > 3 else "")
    return f"{label} stands for {len(records)} configurations" + (f", which differ in {shown}" if shown else "")


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by size, before names."""
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)
