"""reproduction.json: the whole records of all runs, a line each, so that nothing else is carried between machines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltrun.errors import ConfigError, DataError
from ltrun.report import collect
from ltrun.results.atomic import write_atomically
from ltrun.results.identity import differences
from ltrun.results.record import RunRecord
from reproduction.recipes import keys_in

PLACES = ("outputs=", "dataset.root=")  # words that name a folder of one machine


class Records:
    """What a file holds now: another process, or a git pull, may add to it at any time."""

    def __init__(self, file: Path):
        self.file = file

    def runs(self) -> list[RunRecord]:
        """Raises DataError for a file that is damaged, or of a later version."""
        return read_runs(self.file) if self.file.exists() else []

    def take(self, found: Iterable[RunRecord]) -> int:
        """Adds the runs that are not there yet. Returns how many. Raises DataError for runs of other data than those there."""
        runs = {_mark(run): run for run in self.runs()}
        before = len(runs)
        known = {key: run for run in runs.values() for key in keys_in(run)}
        for run in map(anywhere, found):
            runs.setdefault(_mark(run), run)
            for key in keys_in(run):
                _refuse_other_data(run, known.setdefault(key, run))
        if len(runs) > before:
            lines = ",\n".join(json.dumps(run.content(), separators=(",", ":")) for run in sorted(runs.values(), key=_order))
            write_atomically(self.file, f'{{"benchmark": "reproduction", "runs": [\n{lines}\n]}}\n'.encode())
        return len(runs) - before


def runs_at(place: Path) -> list[RunRecord]:
    """The runs of another reproduction.json, or those below a folder. Raises DataError."""
    if place.is_dir():
        return collect([place])[0]
    if place.name == "result.json":
        return [RunRecord.load(place)]
    return read_runs(place)


def read_runs(file: Path) -> list[RunRecord]:
    try:
        return [RunRecord.parse(json.dumps(run).encode()) for run in json.loads(file.read_bytes())["runs"]]
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ConfigError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file} is no reproduction.json ({error}): name one, a result.json or a folder of runs") from error


def anywhere(run: RunRecord) -> RunRecord:
    """A record without the folders of its machine, which are no part of an address."""
    config: dict[str, Any] = {**run.config, "outputs": "outputs"}
    if "root" in config.get("dataset", {}):
        config["dataset"] = {**config["dataset"], "root": "data"}
    return replace(run, config=config, command=[word for word in run.command if not word.startswith(PLACES)])


def _mark(run: RunRecord) -> tuple[str, int, str]:
    """By what was measured: a run whose result was written twice is one, and another machine rounds differently."""
    return run.fingerprint, run.seed, json.dumps(run.predictors, sort_keys=True)


def _order(run: RunRecord) -> tuple[str, ...]:
    return run.dataset, run.label, f"{run.seed:9}", str(run.provenance.get("date"))


def _refuse_other_data(run: RunRecord, other: RunRecord) -> None:
    """other: of the same configuration."""
    if found := differences(other.data, run.data):
        where, told = f" ({run.path})" if run.path else "", "; ".join(found.values())
        raise DataError(f"{run.label}, seed {run.seed}{where}, was trained on other data than the runs before: {told}")
