"""Seconds that runs take: measured by records, by the epochs of interrupted runs, and by the runs of the sweep itself."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from statistics import median

from ltrun.config.job import Job
from ltrun.errors import DataError
from ltrun.machine import processor
from ltrun.metrics import is_number
from ltrun.results.address import RESULT
from ltrun.results.epochs import epochs_of
from ltrun.results.folder import signed
from ltrun.results.record import RunRecord

MOST = 12  # records of a method on a data set that are read, the newest first


class Costs:
    """Seconds of whole runs, by configuration; by configured epoch for other configurations of a method on a data set.

    at_once: number of runs that share the machine; records of as many are preferred. on_cpu: whether jobs train on the CPU.
    """

    def __init__(self, jobs: Iterable[Job], at_once: int, on_cpu: bool) -> None:
        self.at_once, self.on_cpu = at_once, on_cpu
        self.whole: dict[Path, float] = {}  # folder of a fingerprint -> seconds of its run
        self.alike: dict[Path, float] = {}  # folder of a method on a data set -> seconds per configured epoch
        self.measured: set[Path] = set()  # fingerprints with a finished run in this sweep, the best of all measurements
        jobs = list(jobs)
        for folder in {job.folder.parent.parent for job in jobs}:
            self._read(folder)
        for job in jobs:
            if (begun := progress(job.folder)) and (job.folder.parent not in self.whole):
                self.whole[job.folder.parent] = begun[1]

    def left(self, job: Job) -> float | None:
        """Returns the seconds that a job still needs; None if nothing like it was measured."""
        whole = self.whole.get(job.folder.parent)
        if whole is None and job.folder.parent.parent in self.alike:
            whole = self.alike[job.folder.parent.parent] * job.settings.epochs
        begun = progress(job.folder)
        return whole if whole is None or begun is None else whole * (1 - begun[0])

    def advance(self, job: Job, done: float, total: int, left: float) -> None:
        """Learns from a run under way. done, total: epochs. left: seconds to the end of the last epoch, by its own pace."""
        if 0 < done < total and left > 0:
            self._learn(job, left * total / (total - done))

    def finish(self, job: Job, seconds: float) -> None:
        """Learns from a whole run of this sweep. seconds: from its beginning to its result."""
        self.measured.add(job.folder.parent)
        self._learn(job, seconds, True)

    def _learn(self, job: Job, whole: float, certain: bool = False) -> None:
        if certain or job.folder.parent not in self.measured:
            self.whole[job.folder.parent] = whole
            self.alike[job.folder.parent.parent] = whole / job.settings.epochs

    def _read(self, folder: Path) -> None:
        """Reads the newest records of a method on a data set."""
        whole: dict[Path, list[tuple[bool, float]]] = {}
        each: list[tuple[bool, float]] = []
        for file in islice(sorted(folder.glob(f"*/seed*/{RESULT}"), key=_written, reverse=True), MOST):
            with suppress(DataError, KeyError, TypeError, ValueError):
                record = RunRecord.load(file)
                facts = record.provenance
                if facts["processor"] == processor() and (facts["device"] == "cpu") == self.on_cpu:
                    same, seconds = facts["at_once"] == self.at_once, _seconds(record)
                    whole.setdefault(file.parent.parent, []).append((same, seconds))
                    each.append((same, seconds / record.config["epochs"]))
        self.whole |= {place: _middle(found) for place, found in whole.items()}
        if each:
            self.alike[folder] = _middle(each)


def progress(folder: Path) -> tuple[float, float] | None:
    """Returns the trained share of a run without a result, and the seconds of all of it at its pace; None before an epoch."""
    stages = signed(folder).get("stages")
    if not isinstance(stages, dict) or not all(is_number(epochs) for epochs in stages.values()):
        return None
    epochs = epochs_of(folder)
    rows = {(row["stage"], row["epoch"]): float(row["seconds"]) for row in epochs if is_number(row.get("seconds"))}
    total = sum(stages.values())
    if not rows or not total or (folder / RESULT).exists():
        return None
    return min(1.0, len(rows) / total), sum(rows.values()) / len(rows) * total


def _seconds(record: RunRecord) -> float:
    """Returns the seconds of a run: seconds_per_epoch times its epochs, or the time from its start to its record if longer.

    The latter counts what follows training, and is shorter for a run that was resumed.
    """
    facts = record.provenance
    trained = facts["seconds_per_epoch"] * sum(stage["epochs"] for stage in record.stages)
    passed = (datetime.fromisoformat(facts["date"]) - datetime.fromisoformat(facts["started"])).total_seconds()
    return float(max(trained, passed))


def _middle(found: list[tuple[bool, float]]) -> float:
    """Returns the median of the measurements with as many runs at once, or else of all."""
    return median([seconds for same, seconds in found if same] or [seconds for _, seconds in found])


def _written(file: Path) -> float:
    with suppress(OSError):
        return file.stat().st_mtime
    return 0.0
