"""Published numbers beside the rows of a table: the number in the header of the preset or recipe, its source and the gap."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from ltrun.config import catalogue
from ltrun.config.catalogue import Option
from ltrun.config.published import BETWEEN, GROUP, PUBLISHED_ON
from ltrun.errors import ConfigError
from ltrun.metrics import TASKS
from ltrun.report.configurations import PREDICTOR
from ltrun.report.facts import of_dataset
from ltrun.report.table import DASH, Row, Table
from ltrun.results.address import as_typed
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from ltrun.config.experiment import Printed

TEST = "test"
HEADS = ("Published", "Gap")
FIRST = re.compile(r"(\d+(?:\.\d+)?)(?![\d.]* to)\b")


@dataclass(frozen=True)
class Published:
    """What is published for a row.

    value: percent of the first metric of its task, None if there is no number. text: all of the header's words. recipe: the
    preset's command, or the summary of the recipe on the data set. changes: how the row's recipe differs, empty if it does
    not. gap: our mean less the published number, in points, None without a number or a mean.
    """

    value: float | None
    text: str
    recipe: str
    changes: str
    gap: float | None

    @property
    def number(self) -> str:
        return DASH if self.value is None else f"{self.value:.1f}"

    @property
    def difference(self) -> str:
        """The gap with its sign, and an asterisk where the recipe differs."""
        return DASH if self.gap is None else f"{self.gap:+.1f}".replace("-", "\N{MINUS SIGN}") + ("*" if self.changes else "")


def published_of(row: Row) -> Published | None:
    """Returns what is published for the method of a row on its data set; None for rows that mix methods or stand for a further
    predictor, for data with other settings, and for methods without a preset."""
    records = [record for record, _ in row.runs]
    first = records[0]
    if len({(record.method, record.dataset, record.fingerprint) for record in records}) > 1:
        return None
    if any(name != record.headline for record, name in row.runs) or row.keys.get(PREDICTOR, first.headline) != first.headline:
        return None
    option = None if any(of_dataset(key) for key in first.changes) else _option(first.method, first.dataset)
    if option is None or not option.expected:
        return None
    text = option.expected
    found = FIRST.match(text)
    value = float(found[1]) if found else None
    ours = _mean(row)
    gap = None if value is None or ours is None else ours - value
    return Published(value, text, option.command or option.summary, _changes(first), gap)


def with_published(tables: Sequence[Table]) -> list[Table]:
    """Returns the tables with the published number and the gap behind the numbers of each row.

    Raises ConfigError for other metrics than the first of a task, and other splits than test.
    """
    found = []
    for table in tables:
        first = TASKS[table.rows[0].runs[0][0].task][0].name
        if table.split != TEST or table.measure.name != first:
            raise ConfigError(f"--published: published numbers are {first} on {TEST}; leave out --metric and --split")
        each = [published_of(row) for row in table.rows]
        rows = [replace(row, beside=_beside(told)) for row, told in zip(table.rows, each, strict=True)]
        changed = {told.changes for told in each if told and told.gap is not None and told.changes}
        notes = [f"* another recipe than the published one: {'; '.join(sorted(changed))}"] if changed else []
        found.append(replace(table, rows=tuple(rows), beside=HEADS, notes=(*table.notes, *notes)))
    return found


def with_printed(tables: Sequence[Table], printed: Mapping[str, Printed]) -> list[Table]:
    """Returns the tables with the numbers that were printed in a paper's table of the data set, and the gap to the first."""
    found = []
    for table in tables:
        numbers = printed.get(table.rows[0].runs[0][0].dataset)
        if numbers is None:
            found.append(table)
            continue
        first = table.columns.index(numbers.columns[0]) if numbers.columns[0] in table.columns else None
        rows = tuple(replace(row, beside=_printed_beside(row, numbers, first)) for row in table.rows)
        found.append(replace(table, rows=rows, beside=(f"Published ({', '.join(numbers.columns)})", "Gap")))
    return found


def _printed_beside(row: Row, numbers: Printed, first: int | None) -> tuple[str, str]:
    predictor = row.keys.get(PREDICTOR, "")
    further = predictor != row.runs[0][0].headline
    values = numbers.rows.get(row.keys.get("method", "") + (f":{predictor}" if further else ""))
    if values is None:
        return DASH, DASH
    ours = None if first is None else row.cells[first].mean
    gap = None if ours is None else ours - values[0]
    return " / ".join(f"{value:.1f}" for value in values), Published(values[0], "", "", "", gap).difference


def _beside(told: Published | None) -> tuple[str, ...]:
    return (told.number, told.difference) if told else (DASH, DASH)


def _mean(row: Row) -> float | None:
    """Returns the mean in percent of the first metric of the row's task on the test split."""
    metric = TASKS[row.runs[0][0].task][0]
    found = [record.predictors[name]["splits"].get(TEST, {}).get(metric.name) for record, name in row.runs]
    values = [100 * value for value in found if value is not None]
    return sum(values) / len(values) if values else None


def _changes(record: RunRecord) -> str:
    return ", ".join(f"{key}={as_typed(value)}" for key, value in sorted(record.changes.items()))


@cache
def _option(method: str, dataset: str) -> Option | None:
    """Returns the recipe of a method on a data set, or its preset, if the preset's number is for the data set."""
    recipe = _header(GROUP, f"{method}{BETWEEN}{dataset}")
    if recipe is not None:
        return recipe
    preset = _header("method", method)
    return preset if preset and dataset == (preset.trained_on or PUBLISHED_ON) else None


def _header(group: str, name: str) -> Option | None:
    """Returns an option with its header; None without such a file, because a record may be of a method of the user's."""
    if not re.fullmatch(r"[\w.@-]+", name):
        return None
    try:
        files = [folder / group / f"{name}{catalogue.SUFFIX}" for folder in catalogue.folders()]
    except ConfigError:  # a missing folder is refused elsewhere, not for the sake of numbers
        return None
    return next((catalogue.option_of(file) for file in files if file.is_file()), None)
