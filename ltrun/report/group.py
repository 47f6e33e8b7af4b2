"""Grouping of records into tables: the runs that share a row, and their mean and standard deviation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ltrun.config.catalogue import titles as names_in_papers
from ltrun.errors import ConfigError, did_you_mean, nearest
from ltrun.metrics import TASKS
from ltrun.report.caption import caption_of, notes_on_the_best
from ltrun.report.configurations import PREDICTOR, Group, Rows, by_configuration, unambiguous
from ltrun.report.data import note, parted
from ltrun.report.facts import FACTS, fact, in_order, leaves, titles
from ltrun.report.measure import Measure, measure_of, measures
from ltrun.report.table import DAGGER, DASH, SAW_TEST, Cell, Row, Scored, Table
from ltrun.results.record import RunRecord

SAW = "test_inputs"
Scope = tuple[str, str, tuple[tuple[str, int], ...]]  # title, task, and the classes with their sizes


def tables(
    records: Sequence[RunRecord],
    metric: str | None = None,
    split: str = "test",
    by: Sequence[str] = (),
    experts: bool = False,
) -> list[Table]:
    """Returns one table for each task, data set and override of the data set's own keys, so that all runs of a table have the
    same classes and, as far as the records identify them, the same images. metric: a name, whose tables leave out tasks without
    it, or None for the first of each task.

    Without `by`, a row is a method with one configuration, averaged over seeds: erm first, then by label, further
    predictors beneath their method. With `by`, a row is one combination of the given keys (dataset, method, seed,
    fingerprint, predictor, a slot, or a dotted key of the configuration), averaged over all other keys; it has only the
    method's headline predictor, unless `predictor` is among the keys. experts: whether each expert of an ensemble is a further
    predictor. Raises ConfigError for an unknown metric, split or key.
    """
    records = records if experts else [record.without_experts() for record in records]
    _check(records, split, by)
    measured = _measured(records, metric)
    scopes: dict[Scope, list[RunRecord]] = defaultdict(list)
    for title, record in zip(titles(records, by), records, strict=True):
        if record.task not in measured:
            continue
        classes = () if "dataset" in by else zip(record.classes["names"], record.classes["counts"], strict=True)
        scopes[title, record.task, tuple(classes)].append(record)
    names, data_sets = names_in_papers("method"), names_in_papers("dataset")
    made = []
    whole = any(key.partition(".")[0] == "dataset" for key in by)  # the rows of one table then have different data
    for title, task, members, told in _by_data(scopes, whole):
        heads, groups, notes = _by_keys(members, by, names) if by else by_configuration(members, names)
        measure = measured[task].fitting(members, split)
        rows = tuple(row for group in groups if (row := _row(group, measure, split)))
        if rows:
            table = Table(title, heads, rows, measure, split, (), "", _heading(title, members[0].dataset, data_sets))
            saw = [SAW_TEST] if any(row.saw_test for row in rows) else []
            notes = [*told, *notes, *saw, *notes_on_the_best(table)]
            made.append(replace(table, caption=caption_of(table, members, by), notes=tuple(notes)))
    return made


def _measured(records: Sequence[RunRecord], metric: str | None) -> dict[str, Measure]:
    """Returns task -> what its tables show, without the tasks whose runs do not have the metric. Raises ConfigError if none has
    it."""
    tasks: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        tasks[record.task].append(record)
    if metric is None:
        return {task: measure_of(some, TASKS[task][0].name) for task, some in tasks.items()}
    found = {task: offered[metric] for task, some in tasks.items() if metric in (offered := measures(some))}
    return found or {task: measure_of(records, metric) for task in tasks}


def _by_data(scopes: Mapping[Scope, list[RunRecord]], whole: bool) -> Iterator[tuple[str, str, list[RunRecord], list[str]]]:
    """Yields title, task, runs and notes of each table. Runs of different data get a table each, unless `whole`."""
    for (title, task, _), members in sorted(scopes.items(), key=lambda item: (in_order(item[0][0]), *item[0])):
        parts = {} if whole else parted(members)
        if len(parts) < 2:
            yield title, task, members, []
            continue
        told = [note(title, [some[0] for some in parts.values()])]
        for mark, some in sorted(parts.items()):
            yield f"{title} (data {mark})", task, some, told


def _heading(title: str, name: str, data_sets: Mapping[str, str]) -> str:
    """Returns the title with the name that papers give the data set: `CIFAR-100-LT [imbalance=50]`."""
    ours = title == name or title.startswith((f"{name} [", f"{name} ("))
    return data_sets.get(name, name) + title.removeprefix(name) if ours else title


def _by_keys(records: list[RunRecord], by: Sequence[str], papers: Mapping[str, str]) -> Rows:
    groups: dict[tuple[str, ...], list[Scored]] = defaultdict(list)
    for record in records:
        shown = {key: fact(record, key) or DASH for key in by}
        for predictor in record.predictors if PREDICTOR in by else [record.headline]:
            groups[tuple(predictor if key == PREDICTOR else shown[key] for key in by)].append((record, predictor))
    papers = unambiguous(papers, {record.method for record in records})
    found: list[Group] = []
    for values, runs in sorted(groups.items(), key=lambda item: [in_order(value) for value in item[0]]):
        keys = dict(zip(by, values, strict=True))
        names = tuple(papers.get(value, value) if key == "method" else value for key, value in keys.items())
        found += _by_their_data(names, keys, runs)
    return Rows(tuple(by), found, [])


def _by_their_data(names: tuple[str, ...], keys: dict[str, str], runs: list[Scored]) -> Iterator[Group]:
    """Yields one group for each data set: even in a table of several data sets, a row never averages over different data."""
    parts = parted(record for record, _ in runs)
    for mark, records in sorted(parts.items()):
        shown = names if len(parts) == 1 else (*names[:-1], f"{names[-1]} (data {mark})")
        own = {id(record) for record in records}
        yield Group(shown, keys, [scored for scored in runs if id(scored[0]) in own])


def _row(group: Group, measure: Measure, split: str) -> Row | None:
    """Returns the row of a group; None if no run was evaluated on the split.

    For costs, also None for predictors other than the headline: they have no training of their own.
    """
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
        names = (f"{names[0]} {DAGGER}", *names[1:])
    cells = tuple(Cell.of(column, [each.get(column.key) for each in found]) for column in measure.columns)
    return Row(names, group.keys, cells, tuple(runs), saw_test)


def _check(records: Sequence[RunRecord], split: str, by: Sequence[str]) -> None:
    splits = {name for record in records for predictor in record.predictors.values() for name in predictor["splits"]}
    if records and split not in splits:
        raise ConfigError(f"no run was evaluated on '{split}'{did_you_mean(split, splits)}")
    for key in by:
        if key != PREDICTOR and all(fact(record, key) is None for record in records):
            slots = {PREDICTOR, *FACTS, *(slot for record in records for slot in record.choices)}
            near = nearest(key, slots.union(*(leaves(record.config) for record in records)))
            raise ConfigError(f"no run has a key '{key}' to group by{did_you_mean(key, [near] if near else slots)}")
