"""Sweeps that an experiment holds: command lines under its key `sweep.commands`, each as after `ltrun -m`."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ltrun.config import catalogue
from ltrun.config.words import CONFIG_DIR, MULTIRUN, for_hydra
from ltrun.errors import ConfigError
from ltrun.machine import at_home

PUBLISHED = re.compile(r"published on (?P<dataset>\w+) \((?P<columns>[^)]*)\): (?P<rows>.+)")
REPORT = re.compile(r"report: --(?P<metric>\w+)")
ALONE = "sweep.commands=[]"  # in the command of a job: it trains this run, and not its sweep


@dataclass(frozen=True)
class Printed:
    """Published numbers of a table. columns: their headings. rows: label of a row -> its numbers, in percent."""

    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class PublishedTable:
    """What an experiment's header says of its table. metric: what it shows, None for the first of the task. printed: data set
    -> published numbers."""

    metric: str | None = None
    printed: Mapping[str, Printed] = field(default_factory=dict)

    def chooses(self, lines: Sequence[Sequence[str]]) -> bool:
        """Whether an experiment with these lines chooses between its methods on validation images: not if it is a published
        table, which trains on all images, and so has published numbers or names `dataset.validation_per_class`."""
        named = any(word.startswith("dataset.validation") for line in lines for word in line)
        return bool(lines) and not self.printed and not named


def sweep_of(argv: Sequence[str]) -> list[list[str]]:
    """Returns the lines of the sweep of a command line's `experiment=NAME`, quoted for Hydra; none without one.

    Raises ConfigError for a sweep that is not a list of command lines, and for a list that is not below `commands`.
    """
    given, more = _given(argv), _folders(argv)
    name = given.get("experiment", "null")
    if name == "null":
        return []
    if name not in catalogue.names(more)["experiment"]:
        return []
    try:
        content = yaml.safe_load(catalogue.file_of("experiment", name, more).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # composing the configuration says why
        return []
    sweep = content.get("sweep") if isinstance(content, dict) else None
    if isinstance(sweep, list):
        raise ConfigError(
            f"experiment={name}: the command lines of a sweep stand one level deeper now: sweep: {{commands: [...]}}"
        )
    lines = sweep.get("commands", []) if isinstance(sweep, dict) else sweep
    if lines in (None, []) or given.keys() & {"sweep", "sweep.commands"}:
        return []
    if not isinstance(lines, list) or not all(isinstance(line, str) and line.strip() for line in lines):
        raise ConfigError(
            f"experiment={name}: sweep.commands must be a list of command lines, such as 'method=erm,crt seed=0,1'"
        )
    return [[word for word in for_hydra([MULTIRUN[0], *shlex.split(line)]) if word not in MULTIRUN] for line in lines]


def table_of(argv: Sequence[str]) -> PublishedTable:
    """Returns what the header of a command line's `experiment=NAME` says of its table: lines such as
    `published on imagenet_lt (All, Few): erm 44.4 7.7; crt 49.6 27.4`, and `report: --shifts` for a table of another metric.
    """
    file = catalogue.file_of("experiment", _given(argv)["experiment"], _folders(argv))
    header = catalogue.header_of(file.read_text(encoding="utf-8"))
    columns, rows, metric = dict[str, tuple[str, ...]](), dict[str, dict[str, tuple[float, ...]]](), None
    for line in header:
        if found := REPORT.fullmatch(line):
            metric = found["metric"]
        if found := PUBLISHED.fullmatch(line):
            columns[found["dataset"]] = tuple(found["columns"].split(", "))
            rows.setdefault(found["dataset"], {}).update(map(_row, found["rows"].split("; ")))
    return PublishedTable(metric, {dataset: Printed(heads, rows[dataset]) for dataset, heads in columns.items()})


def _given(argv: Sequence[str]) -> dict[str, str]:
    return {key: value for word in argv for key, equals, value in [word.partition("=")] if equals}


def _folders(argv: Sequence[str]) -> list[Path]:
    return [Path(at_home(folder, flag)) for flag, folder in itertools.pairwise(argv) if flag in CONFIG_DIR]


def _row(text: str) -> tuple[str, tuple[float, ...]]:
    """Reads `crt [epochs=300] 49.6 27.4`: a label and its numbers."""
    label = text.rstrip("0123456789. ")
    return label, tuple(map(float, text.removeprefix(label).split()))
