"""reproduction.json: the whole records of all runs, a line each, so that nothing else is carried between machines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltrun.report.preset_runs import refuse_other_data
from ltrun.report.records import read_records
from ltrun.results.atomic import write_atomically
from ltrun.results.record import RunRecord

PLACES = ("outputs=", "dataset.root=")  # words that name a folder of one machine


class Records:
    """What a file holds now: another process, or a git pull, may add to it at any time."""

    def __init__(self, file: Path):
        self.file = file

    def runs(self) -> list[RunRecord]:
        """Raises DataError for a file that is damaged, or of a later version."""
        return read_records(self.file) if self.file.exists() else []

    def take(self, found: Iterable[RunRecord]) -> int:
        """Adds the runs that are not there yet. Returns how many. Raises DataError for runs of other data than those there."""
        runs = {_mark(run): run for run in self.runs()}
        before = len(runs)
        for run in map(anywhere, found):
            runs.setdefault(_mark(run), run)
        refuse_other_data(runs.values())
        if len(runs) > before:
            lines = ",\n".join(json.dumps(run.content(), separators=(",", ":")) for run in sorted(runs.values(), key=_order))
            write_atomically(self.file, f'{{"benchmark": "reproduction", "runs": [\n{lines}\n]}}\n'.encode())
        return len(runs) - before


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
