"""The queue of missing trainings, in the order of their worth, trained by the pool of ltrun's sweeps."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from ltrun.config.compose import compose_job
from ltrun.config.job import Job
from ltrun.config.presets import Key, key_of, keys_in
from ltrun.errors import DataError
from ltrun.results.address import RESULT
from ltrun.results.identity import differences
from ltrun.results.record import RunRecord
from ltrun.sweep.jobs import compose_jobs, train, without_refused
from ltrun.sweep.outcome import Outcome, tell
from reproduction.records import Records

NONE = "none"


def missing(jobs: Mapping[str, Job], seeds: Sequence[int], runs: Sequence[RunRecord], banded: set[str]) -> list[list[str]]:
    """The command lines of trainings that no run covers yet: the first seed of every method, then the second.

    jobs: by method, in the order of their worth. banded: methods with a band. Methods that differ only in their post-hoc parts
    share one training. The training is missing while a method with a band lacks its row; if no method of the training has a
    band, while any method lacks its row.
    """
    there = {(key, run.seed) for run in runs for key in keys_in(run)}
    trainings: dict[str, dict[str, Key]] = defaultdict(dict)
    for method, job in jobs.items():
        key = key_of(job)
        trainings[key.training][method] = key
    found = []
    for seed in seeds:
        for rows in trainings.values():
            wanted = [key for method, key in rows.items() if method in banded] or list(rows.values())
            if any((key, seed) not in there for key in wanted):
                found.append([*_command([jobs[method] for method in rows]), f"seed={seed}"])
    return found


def _command(rows: Sequence[Job]) -> list[str]:
    """The command line of one training with the post-hoc parts of all its methods."""
    if len(rows) == 1:
        return list(rows[0].command)
    parts = [row.choices["posthoc"] for row in rows if row.choices["posthoc"] != NONE]
    return [*rows[0].command, f"posthoc=[{','.join(parts)}]"]


class Queue:
    """Trains command lines and keeps the record of each run when the run ends. shown: writes the pages anew."""

    def __init__(self, commands: Sequence[Sequence[str]], kept: Records, shown: Callable[[], None]):
        self.commands, self.kept, self.shown = commands, kept, shown
        self.outcomes: list[Outcome] = []

    def train(self) -> None:
        """Raises DataError where the data are missing, or differ from the data of earlier runs."""
        if self.commands:
            self._open_data(compose_job(self.commands[0]))
        jobs = without_refused(compose_jobs(self.commands, self._note), self._note)
        train(jobs, len(self.commands), self._note)

    def conclude(self) -> int:
        """Prints how many trainings are done and failed. Returns the exit code."""
        done = sum(outcome.state == "done" for outcome in self.outcomes)
        failed = sum(outcome.state == "failed" for outcome in self.outcomes)
        rest = len(self.commands) - done - failed
        told = [f"{done} of {len(self.commands)} trainings are done", f"{failed} failed, as told above" if failed else ""]
        told += ["the same command trains the rest" if rest else ""]
        print("; ".join(filter(None, told)))
        return 1 if failed else 0

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        tell(outcome, named=True)
        if outcome.state == "done" and outcome.folder is not None:
            try:
                self.kept.take([RunRecord.load(outcome.folder / RESULT)])
                self.shown()
            except DataError as error:
                print(f"reproduce: {error}", file=sys.stderr)

    def _open_data(self, job: Job) -> None:
        """Downloads and decodes the images once, before many processes open them. Raises DataError."""
        import torch

        from ltrun.data.identity import Listing
        from ltrun.recipe.read import source_of

        data = Listing.of(source_of(job.config).build({}).open(torch.device("cpu"))).data
        training = key_of(job).training
        for run in self.kept.runs():
            if any(key.training == training for key in keys_in(run)) and (found := differences(run.data, data)):
                told = "; ".join(found.values())
                raise DataError(f"these data differ from the data of earlier runs ({told}): name their folder with --data")
