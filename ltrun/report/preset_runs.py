"""The runs of each preset and the mean of their first metric, found by the fingerprints of training and predictor."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ltrun.config import catalogue
from ltrun.config.explain import explained
from ltrun.config.job import Job
from ltrun.config.option import root
from ltrun.config.presets import Key, Recipe, jobs_of, key_of, keys_in, recipe_of
from ltrun.config.published import PUBLISHED_ON, chosen
from ltrun.errors import ConfigError, DataError
from ltrun.metrics import SINGLE_LABEL, TASKS
from ltrun.report.measure import Measure
from ltrun.report.published import TEST
from ltrun.report.render.common import number
from ltrun.report.table import DAGGER, DASH, Cell, Row, Scored
from ltrun.results.identity import differences
from ltrun.results.record import RunRecord
from ltrun.taxonomy import SLOTS


@dataclass(frozen=True)
class PresetRuns:
    """runs: the first recorded run of each seed. further: later runs of the same seeds, on other machines."""

    runs: tuple[Scored, ...]
    further: tuple[Scored, ...]

    @property
    def n(self) -> int:
        return len(self.runs)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The first metric of the runs' task in percent: of all, many-, medium- and few-shot classes."""
        task = self.runs[0][0].task if self.runs else SINGLE_LABEL
        found = [run.predictors[predictor]["splits"][TEST] for run, predictor in self.runs]
        return tuple(
            Cell.of(column, [metrics.get(column.key) for metrics in found]) for column in Measure.of(TASKS[task][0]).columns
        )

    @property
    def mean(self) -> float | None:
        """The mean of the first cell over the runs, in percent."""
        return self.cells[0].mean

    @property
    def saw_test(self) -> bool:
        return any("test_inputs" in run.predictors[predictor]["sees"] for run, predictor in self.runs)

    @property
    def text(self) -> str:
        """`38.3 ± 0.4 (n=3)`, or a dash without runs."""
        mark = f" {DAGGER}" if self.saw_test else ""
        return f"{number(self.cells[0], self.averaged)}{mark} (n={self.n})" if self.n else DASH

    @property
    def averaged(self) -> Row:
        """Returns the row of these runs in a table."""
        return Row((), {}, self.cells, self.runs, self.saw_test)


def runs_of(jobs: Mapping[str, Job], records: Sequence[RunRecord], dataset: str, recipe: Recipe = ()) -> dict[str, PresetRuns]:
    """Returns method -> the runs of its preset by a recipe.

    jobs: by method, of that recipe. dataset: the one that needs no word in a recipe.
    """
    found = _by_key(record for record in records if recipe_of(record.dataset, record.changes, dataset) == recipe)
    return {method: _first_of_each_seed(found[key_of(job)]) for method, job in jobs.items()}


def accuracies(records: Sequence[RunRecord], methods: Sequence[str], more: Sequence[Path] = ()) -> dict[str, str]:
    """Returns preset -> the accuracy of its runs on the data set of the published numbers. Needs `composing`.

    Composes, which takes half a second, those presets alone whose options a run chose. more: folders of the user's options.
    Raises ConfigError for a preset that does not compose, DataError for runs of different data.
    """
    refuse_other_data(records)
    jobs: dict[str, Job] = {}
    runs = [record for record in records if record.dataset == PUBLISHED_ON]
    for method in that_may_have_run(methods, runs, PUBLISHED_ON, more):
        try:
            jobs |= jobs_of([method], PUBLISHED_ON)
        except Exception as error:
            raise ConfigError(f"method={method} does not compose: {explained(error, [])}") from None
    return dict.fromkeys(methods, DASH) | {method: runs.text for method, runs in runs_of(jobs, records, PUBLISHED_ON).items()}


def that_may_have_run(methods: Iterable[str], runs: Sequence[RunRecord], dataset: str, more: Sequence[Path] = ()) -> list[str]:
    """Returns the presets that a run names, or whose options it chose. An option that is no more may have another name now."""
    known, usual = catalogue.names(more), root()[1]
    named = {run.method for run in runs}
    picked = {tuple(run.choices.get(slot, usual[slot]) for slot in SLOTS) for run in runs}

    def chose(run: Sequence[str], own: Mapping[str, str]) -> bool:
        for slot, written in zip(SLOTS, run, strict=True):
            options = {*re.findall(r"\w+", written), *(["none"] if slot == "posthoc" else [])}  # each run has the plain row
            if own[slot] not in options and options <= known[slot]:
                return False
        return True

    def may_have(method: str) -> bool:
        own = chosen(method, dataset, more)
        return any(chose(run, own) for run in picked)

    return [method for method in methods if method in named or may_have(method)]


def states(records: Sequence[RunRecord], found: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Returns (method, data set) -> the accuracy of its runs, of each pair that has any. Needs `composing`.

    Raises ConfigError for a pair that does not compose.
    """
    ran = {(record.method, record.dataset) for record in records}
    told = {}
    for method, dataset in ran.intersection(found):
        try:
            runs = runs_of(jobs_of([method], dataset), records, dataset)[method]
        except Exception as error:
            raise ConfigError(f"method={method} dataset={dataset} does not compose: {explained(error, [])}") from None
        if runs.n:
            told[method, dataset] = runs.text
    return told


def refuse_other_data(records: Iterable[RunRecord]) -> None:
    """Raises DataError if a run was trained on other data than earlier runs of the same training."""
    first: dict[Key, RunRecord] = {}
    for run in records:
        for key in keys_in(run):
            if found := differences(first.setdefault(key, run).data, run.data):
                where, told = f" ({run.path})" if run.path else "", "; ".join(found.values())
                raise DataError(f"{run.label}, seed {run.seed}{where}, was trained on other data than the runs before: {told}")


def _by_key(records: Iterable[RunRecord]) -> dict[Key, list[Scored]]:
    """Returns the runs of each key, sorted by date."""
    found: dict[Key, list[Scored]] = defaultdict(list)
    for record in sorted(records, key=lambda record: str(record.provenance.get("date"))):
        for key, predictor in keys_in(record).items():
            if TEST in record.predictors[predictor]["splits"]:
                found[key].append((record, predictor))
    return found


def _first_of_each_seed(runs: Sequence[Scored]) -> PresetRuns:
    first: dict[int, Scored] = {}
    for scored in runs:
        first.setdefault(scored[0].seed, scored)
    counted = tuple(first[seed] for seed in sorted(first))
    return PresetRuns(counted, tuple(scored for scored in runs if scored not in counted))
