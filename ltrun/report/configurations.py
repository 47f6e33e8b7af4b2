"""Rows of a table without `--by`: one for each configuration of a method, with a column for every swept key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ltrun.report.facts import difference, in_order, label_of, shared_changes, swept_keys, value_of
from ltrun.report.table import DASH, Scored
from ltrun.results.record import RunRecord

METHOD = "Method"
PREDICTOR = "predictor"
COLUMNS = 3  # most swept keys that get a column each; with more, the label of each row gives the values


class Group(NamedTuple):
    """The runs that share a row. names: one for each head. keys: key -> value that all runs of the row share."""

    names: tuple[str, ...]
    keys: dict[str, str]
    runs: list[Scored]


class Rows(NamedTuple):
    """Rows of a table. heads: headings of the names. notes: sentences on changes that labels and columns do not name."""

    heads: tuple[str, ...]
    groups: list[Group]
    notes: list[str]


class _Configuration(NamedTuple):
    """Runs of one fingerprint. label: for readers. typed: the method and all its changes, as typed on the command line."""

    label: str
    typed: str
    values: tuple[str, ...]
    mark: str
    members: list[RunRecord]


def by_configuration(records: Sequence[RunRecord], names: Mapping[str, str]) -> Rows:
    """Returns one row for each configuration; if two have the same label, a note names the keys in which they differ.

    names: method -> its name in papers, which labels the row unless the label must name changes. A label names neither
    changes that have a column nor changes that all rows share, which a note names.
    """
    swept: dict[str, list[str]] = {}
    for method in sorted({record.method for record in records}):
        swept[method] = swept_keys([record for record in records if record.method == method])
    columns = sorted(set().union(*swept.values()))
    columns = columns if len(columns) <= COLUMNS else []
    shared = shared_changes(records) if len({record.fingerprint for record in records}) > 1 else {}
    found = _configurations(records, swept, columns, [*columns, *shared], unambiguous(names, set(swept)))
    heads = _heads(columns)
    notes = [f"{head}: {key}" for head, key in zip(heads, columns, strict=True) if head != key]
    notes += ["every run: " + ", ".join(f"{key}={value}" for key, value in shared.items())] if shared else []
    same: dict[tuple[str, ...], list[_Configuration]] = defaultdict(list)
    for one in found:
        same[one.label, *one.values].append(one)
    for alike in same.values():
        if len(alike) > 1:
            notes.append(difference(alike[0].label, {one.mark: one.members[0] for one in alike}))
    groups = []
    for one in found:
        shown = f"{one.label} ({one.mark})" if len(same[one.label, *one.values]) > 1 else one.label
        headline = one.members[0].headline
        for predictor in dict.fromkeys([headline, *(p for record in one.members for p in record.predictors)]):
            name = shown if predictor == headline else f"{shown} · {predictor}"
            keys = {"method": one.typed, **dict(zip(columns, one.values, strict=True))}
            runs = [(record, predictor) for record in one.members if predictor in record.predictors]
            groups.append(Group((name, *one.values), {**keys, "fingerprint": one.mark, PREDICTOR: predictor}, runs))
    return Rows((METHOD, *heads), groups, notes)


def unambiguous(names: Mapping[str, str], methods: set[str]) -> dict[str, str]:
    """Returns method -> name in papers for the methods whose name no other method of the table has."""
    shown = [names.get(method, method) for method in methods]
    return {method: names[method] for method in methods & names.keys() if shown.count(names[method]) == 1}


def _configurations(
    records: Sequence[RunRecord],
    swept: Mapping[str, list[str]],
    columns: Sequence[str],
    told: Sequence[str],
    names: Mapping[str, str],
) -> list[_Configuration]:
    """Returns configurations in the order of the table: erm first, then by method and changes, numbers by size.

    told: keys that no label names, because a column or a note does.
    """
    same: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        same[record.method, record.fingerprint].append(record)
    found = []
    for (method, mark), members in same.items():
        first = min(members, key=lambda record: len(label_of(record)))  # a default may be typed or left out
        values = tuple(value_of(first, key) or DASH for key in columns)
        label = label_of(first, [] if columns else swept[method], without=told)
        found.append(_Configuration(names.get(label, label), label_of(first, swept[method]), values, mark, members))
    return sorted(found, key=lambda one: (one.members[0].method != "erm", in_order(one.typed), one.mark))


def _heads(keys: Sequence[str]) -> list[str]:
    """Returns the shortest unambiguous end of each dotted key: `tau` for `logit_adjustment.adjust.tau`."""
    heads = []
    for key in keys:
        steps = key.split(".")
        ends = [".".join(steps[-n:]) for n in range(1, len(steps) + 1)]
        heads.append(next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1 or end == key))
    return heads
