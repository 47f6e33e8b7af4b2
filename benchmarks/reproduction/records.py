"""reproduction.json, the file that keeps the whole record of every run, a record a line; machines exchange nothing else."""

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

PLACES = ("outputs=", "dataset.root=")  # words that name folders of one machine


class Records:
    """The records in a file. It is read anew each time, because another process or a git pull may add records."""

    def __init__(self, file: Path):
        self.file = file

    def runs(self) -> list[RunRecord]:
        """Raises DataError for a file that is damaged or of a later version."""
        return read_records(self.file) if self.file.exists() else []

    def take(self, found: Iterable[RunRecord]) -> int:
        """Adds the runs that the file lacks; returns their number. Raises DataError for runs of other data."""
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
    """The record without folders of its machine, which are not part of an address."""
    config: dict[str, Any] = {**run.config, "outputs": "outputs"}
    if "root" in config.get("dataset", {}):
        config["dataset"] = {**config["dataset"], "root": "data"}
    return replace(run, config=config, command=[word for word in run.command if not word.startswith(PLACES)])


def _mark(run: RunRecord) -> tuple[str, int, str]:
    """Identifies a run by address, seed and numbers: a copy of a result is the same run, the run of another machine is not."""
    return run.fingerprint, run.seed, json.dumps(run.predictors, sort_keys=True)


def _order(run: RunRecord) -> tuple[str, ...]:
    return run.dataset, run.label, f"{run.seed:9}", str(run.provenance.get("date"))
