"""Measures that a table can show: a metric with its shot groups, the cost of training, or a metric of another version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ltrun.errors import MOST_NAMES, ConfigError, nearest
from ltrun.metrics import COST, GROUPS, SETS, STORED, TASKS, Metric, is_number
from ltrun.results.record import RunRecord


class Column(NamedTuple):
    """A column of numbers. key: the key in a record, of the metric or of a shot group beside it. head: its heading."""

    metric: Metric
    key: str
    head: str

    @property
    def group(self) -> str | None:
        """The shot group, `many`, `medium` or `few`; None for the metric's own column."""
        return self.metric.group_of(self.key)


@dataclass(frozen=True)
class Measure:
    """The metrics that `--metric NAME` shows. title: for captions. cost: measures training, not predictions."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    cost: bool = False

    @classmethod
    def of(cls, metric: Metric, cost: bool = False) -> Measure:
        return cls(metric.name, metric.title, (metric,), cost)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return tuple(Column(metric, *column) for metric in self.metrics for column in metric.columns.items())

    @property
    def percent(self) -> bool:
        return all(metric.percent for metric in self.metrics)

    def fitting(self, records: Sequence[RunRecord], split: str) -> Measure:
        """Returns the measure without metrics of a set that none of the records has: a data set allows some test sets only."""
        if self.name not in SETS:
            return self
        there = set().union(*(p["splits"].get(split, {}) for record in records for p in record.predictors.values()))
        return replace(self, metrics=_those(self.metrics, there) or self.metrics)


def measure_of(records: Sequence[RunRecord], name: str) -> Measure:
    """Returns the measure of a name in these records. Raises ConfigError for a name that no record has."""
    offered = measures(records)
    if name in offered:
        return offered[name]
    computed = {metric.name for task in {record.task for record in records} for metric in STORED[task]}
    near = nearest(name, {**offered, **dict.fromkeys([*computed, *SETS])})
    hint = f"; did you mean '{near}'? The" if near else "; the"
    raise ConfigError(f"no run has a metric '{name}'{hint} runs have {', '.join(list(offered)[:MOST_NAMES])}")


def measures(records: Sequence[RunRecord]) -> dict[str, Measure]:
    """Returns name -> measure for these records: declared metrics in their order, costs, and every other number by its name."""
    splits = [metrics for record in records for p in record.predictors.values() for metrics in p["splits"].values()]
    there = set().union(*splits)
    tasks = list(dict.fromkeys(record.task for record in records))
    declared = [metric for task in tasks for metric in (*TASKS[task], *STORED[task])]
    shown = {metric.name: Measure.of(metric) for metric in declared if metric.name in there}
    added = there - shown.keys()
    of_sets = {name: Measure(name, title, _those(some, there)) for name, (title, some) in SETS.items() if _those(some, added)}
    costs = {"cost": Measure("cost", "Cost of training", COST, cost=True)}
    costs |= {metric.name: Measure.of(metric, cost=True) for metric in COST}
    known = shown | of_sets | costs
    told = {*known, *GROUPS, *(key for metric in declared for key in metric.columns), "images", "classes"}
    told |= {metric.name for measure in of_sets.values() for metric in measure.metrics}
    others = (name for name in sorted(there - told) if any(is_number(m.get(name)) for m in splits))
    return known | {name: Measure.of(undeclared(name)) for name in others}


def _those(metrics: Sequence[Metric], there: set[str]) -> tuple[Metric, ...]:
    return tuple(metric for metric in metrics if metric.name in there)


def undeclared(name: str) -> Metric:
    """Returns a metric for a name that this version does not know: shown unscaled, and neither direction is better."""
    return Metric(name, name, name, better=None, percent=False)
