"""Facts of a record as text: what runs can be grouped by, titles of tables, labels of rows, differences of configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ltrun.report.table import DASH
from ltrun.results.address import as_typed, inert_keys, labelled
from ltrun.results.record import RunRecord

FACTS: dict[str, Callable[[RunRecord], str]] = {
    "method": lambda record: record.method,
    "dataset": lambda record: record.dataset,
    "seed": lambda record: str(record.seed),
    "fingerprint": lambda record: record.fingerprint,
}


def fact(record: RunRecord, key: str) -> str | None:
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


def title_of(record: RunRecord, by: Sequence[str]) -> str:
    """The data set and what was changed of it: `cifar100_lt [imbalance=50]`."""
    untold = {*by, *inert_keys(record.config)}
    changes = {key: value for key, value in record.changes.items() if _of_dataset(key) and key not in untold}
    name = "all data sets" if "dataset" in by else record.dataset
    return labelled(name, {key.removeprefix("dataset."): value for key, value in changes.items()})


def label_of(record: RunRecord) -> str:
    return labelled(record.method, {key: value for key, value in record.changes.items() if not _of_dataset(key)})


def _of_dataset(key: str) -> bool:
    return key.startswith("dataset.")


def difference(label: str, records: Mapping[str, RunRecord]) -> str:
    """`erm stands for 2 configurations, which differ in optimizer.lr: 0.1 (1a2b3c4d), 0.2 (5e6f7a8b)`."""
    flat = {mark: leaves(record.config) for mark, record in records.items()}
    keys = sorted(set().union(*flat.values()))
    inert = frozenset().union(*(inert_keys(record.config) for record in records.values()))
    differing = [key for key in keys if key not in inert and len({each.get(key) for each in flat.values()}) > 1]
    told = [f"{key}: " + ", ".join(f"{each.get(key, DASH)[:40]} ({mark})" for mark, each in flat.items()) for key in differing]
    shown = "; ".join(told[:3]) + (f" and {len(told) - 3} more keys" if len(told) > 3 else "")
    return f"{label} stands for {len(records)} configurations" + (f", which differ in {shown}" if shown else "")
