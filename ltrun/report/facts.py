"""Facts of a record as text: values to group runs by, titles of tables, labels of rows, differences of configurations."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ltrun.report.table import DASH
from ltrun.results.address import FIRST, NEUTRAL, as_typed, class_name, inert_keys, labelled
from ltrun.results.record import RunRecord
from ltrun.taxonomy import SLOTS

FACTS: dict[str, Callable[[RunRecord], str]] = {
    "method": lambda record: record.method,
    "dataset": lambda record: record.dataset,
    "seed": lambda record: str(record.seed),
    "fingerprint": lambda record: record.fingerprint,
}


def fact(record: RunRecord, key: str) -> str | None:
    """Returns a record's value of a fact, a slot or a dotted key of its configuration, as text; None if it has none.

    Values that share an address have one text: 1, 1.0 and 1e0; an absent key, null and {}; a slot that is younger than the
    record and the slot's `none`; a class in any module of its family.
    """
    if key in FACTS:
        return FACTS[key](record)
    if key in record.choices:
        return record.choices[key]
    node: Any = record.config
    name = key  # the spelling of the key in NEUTRAL
    for step in key.split("."):
        part = node.get("_target_") if isinstance(node, Mapping) else None
        name = f"{class_name(part)}.{step}" if part else key
        node = node.get(step) if isinstance(node, Mapping) else None
    if node is None:
        node = "none" if key in SLOTS else NEUTRAL.get(FIRST.get(name, name))
    if isinstance(node, Mapping):
        inside = ", ".join(f"{path}: {value}" for path, value in sorted(leaves(node).items()))
        return f"{{{inside}}}" if inside else None
    return None if node is None else _text(key, node)


def leaves(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns dotted path -> value as text. Lists are leaves; null counts as absent."""
    flat: dict[str, str] = {}
    rest: list[tuple[str, Any]] = [("", config)]
    while rest:
        path, node = rest.pop()
        if isinstance(node, Mapping):
            rest.extend((f"{path}.{key}" if path else str(key), value) for key, value in node.items())
        elif node is not None:
            flat[path] = _text(path, node)
    return flat


def _text(key: str, value: Any) -> str:
    """Returns a value as it is typed; text that reads as JSON, such as "1", keeps its quotes, because the number 1 differs."""
    if not isinstance(value, str):
        return as_typed(value)
    try:
        json.loads(value)
    except ValueError:
        return str(class_name(value)) if key.endswith("_target_") else value
    return json.dumps(value)


def value_of(record: RunRecord, key: str) -> str | None:
    """Returns a record's value of a key that this run or another run of its sweep changes, as text; None if it has none."""
    changed = record.changes.get(key)
    if changed is not None:
        return _text(key, changed)
    return None if key in record.changes else fact(record, f"stages.train.{key}") or fact(record, key)


def differing(records: Iterable[RunRecord], keys: Iterable[str]) -> list[str]:
    """Returns the keys whose values differ among the records."""
    records = list(records)
    return [key for key in keys if len({value_of(record, key) for record in records}) > 1]


def spelt_out(record: RunRecord, changes: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Returns the changes, and the record's values of further keys, so that a default among swept values is named, too."""
    return {**{key: value for key in keys if (value := value_of(record, key)) is not None}, **changes}


def titles(records: Sequence[RunRecord], by: Sequence[str]) -> list[str]:
    """Returns the data set of each record with its changes: `cifar100_lt [imbalance=50]`.

    If runs of one data set differ in a key that some of them change, each title gives the value.
    """
    alike: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        alike[_data_set(record, by)].append(record)
    told = {name: differing(members, _changed(members, by, of_dataset)) for name, members in alike.items()}
    found = []
    for record in records:
        name = _data_set(record, by)
        changes = {key: record.changes[key] for key in _changed([record], by, of_dataset)}
        spelt = spelt_out(record, changes, told[name])
        found.append(labelled(name, {key.removeprefix("dataset."): value for key, value in spelt.items()}))
    return found


def label_of(record: RunRecord, swept: Sequence[str] = (), without: Sequence[str] = ()) -> str:
    """Returns the method with its changes, and with the record's values of `swept`, the keys that other runs change."""
    changes = {key: value for key, value in record.changes.items() if not of_dataset(key)}
    spelt = spelt_out(record, changes, swept)
    return labelled(record.method, {key: value for key, value in spelt.items() if key not in without})


def swept_keys(records: Sequence[RunRecord]) -> list[str]:
    """Returns the keys that some run of a method changes and in which the runs of the method differ."""
    return differing(records, _changed(records, (), lambda key: not of_dataset(key)))


def shared_changes(records: Sequence[RunRecord]) -> dict[str, str]:
    """Returns the changes that every run shares, key -> value as typed."""
    keys = _changed(records, (), lambda key: not of_dataset(key))
    everywhere = [key for key in keys if all(key in record.changes for record in records)]
    differ = differing(records, everywhere)
    return {key: as_typed(records[0].changes[key]) for key in everywhere if key not in differ}


def of_dataset(key: str) -> bool:
    return key.startswith("dataset.")


def _data_set(record: RunRecord, by: Sequence[str]) -> str:
    return "all data sets" if "dataset" in by else record.dataset


def _changed(records: Iterable[RunRecord], by: Sequence[str], wanted: Callable[[str], bool]) -> list[str]:
    keys = {key for record in records for key in record.changes.keys() - inert_keys(record.config)}
    return sorted(key for key in keys if wanted(key) and key not in by)


def difference(label: str, records: Mapping[str, RunRecord]) -> str:
    """Returns `erm names 2 configurations, which differ in optimizer.lr: 0.1 (1a2b3c4d), 0.2 (5e6f7a8b)`."""
    flat = {mark: leaves(record.config) for mark, record in records.items()}
    keys = sorted(set().union(*flat.values()))
    inert = frozenset().union(*(inert_keys(record.config) for record in records.values()))
    apart = [key for key in keys if key not in inert and len({each.get(key) for each in flat.values()}) > 1]
    told = [f"{key}: " + ", ".join(f"{each.get(key, DASH)[:40]} ({mark})" for mark, each in flat.items()) for key in apart]
    shown = "; ".join(told[:3]) + (f" and {len(told) - 3} more keys" if len(told) > 3 else "")
    return f"{label} names {len(records)} configurations" + (f", which differ in {shown}" if shown else "")


def in_order(name: str) -> list[tuple[int, float, str]]:
    """Returns a sort key that orders numbers by size, within names too, and before letters."""
    try:
        parts = ["", name] if math.isfinite(float(name)) else [name]
    except ValueError:
        parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", name)
    return [(0, float(part), part) if i % 2 else (1, 0.0, part) for i, part in enumerate(parts) if part]
