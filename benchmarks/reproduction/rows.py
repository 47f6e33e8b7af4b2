"""Rows of the reproduction: a method's runs, their means, and the verdict on them; and the order of the methods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ltrun.metrics import SINGLE_LABEL, TASKS
from ltrun.report.measure import Measure
from ltrun.report.table import Cell, Scored
from ltrun.results.record import RunRecord
from reproduction.literature import Literature, Published
from reproduction.recipes import Key, Recipe, jobs_of, key_of, keys_in, recipe_of

SEEDS = 3  # a mean of fewer reproduces nothing
NOT_RUN = "not yet run"
COLUMNS = Measure.of(TASKS[SINGLE_LABEL][0]).columns  # All, Many, Medium, Few


@dataclass(frozen=True)
class Row:
    """runs: one a seed, the first that was recorded. further: later runs of the same seeds, on other machines."""

    published: Published
    runs: tuple[Scored, ...]
    further: tuple[Scored, ...]

    @property
    def n(self) -> int:
        return len(self.runs)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        found = [run.predictors[predictor]["splits"]["test"] for run, predictor in self.runs]
        return tuple(Cell.of(column, [metrics.get(column.key) for metrics in found]) for column in COLUMNS)

    @property
    def mean(self) -> float | None:
        """Of all classes, in percent."""
        return self.cells[0].mean

    @property
    def saw_test(self) -> bool:
        return any("test_inputs" in run.predictors[predictor]["sees"] for run, predictor in self.runs)

    @property
    def beside(self) -> str:
        """Where the mean, as it is printed, lies: inside the band, or how far from it; empty without a band or a mean."""
        if self.mean is None or self.published.band is None:
            return ""
        (low, high), mean = self.published.band, round(self.mean, 1)
        return f"{low - mean:.1f} below" if mean < low else f"{mean - high:.1f} above" if mean > high else "inside"

    @property
    def verdict(self) -> str:
        """Against the band: *reproduced* or *outside* from three seeds on, before that how many there are."""
        if not self.n:
            return NOT_RUN
        if self.n < SEEDS:
            return f"{self.n} of {SEEDS}" + (f", {self.beside}" if self.beside else "")
        return "no band" if not self.beside else "reproduced" if self.beside == "inside" else f"outside, {self.beside}"


@dataclass(frozen=True)
class Check:
    """One of the orders in which the literature has the methods. means: None for a method without a run."""

    said: str
    means: tuple[float | None, float | None]
    verdict: str


def rows_of(literature: Literature, records: Sequence[RunRecord], recipe: Recipe) -> list[Row]:
    """The rows of a recipe: all methods of the literature where it is the published one, else those that have runs."""
    jobs = jobs_of(list(literature.methods), literature.dataset, recipe)
    found = _by_key([r for r in records if recipe_of(r.dataset, r.changes, literature.dataset) == recipe])
    rows = [_row(literature.methods[method], found[key_of(job)]) for method, job in jobs.items()]
    return [row for row in rows if row.n or not recipe]


def recipes_in(literature: Literature, records: Sequence[RunRecord]) -> list[Recipe]:
    """The published one first, then those that change the fewest words."""
    found = {recipe_of(record.dataset, record.changes, literature.dataset) for record in records}
    return sorted({(), *found}, key=lambda recipe: (len(recipe), recipe))


def checks_of(literature: Literature, rows: Sequence[Row]) -> list[Check]:
    means = {row.published.method: row.mean for row in rows}
    return [_checked(check, means, literature.about) for check in literature.checks]


def _by_key(records: Sequence[RunRecord]) -> dict[Key, list[Scored]]:
    """In the order of their dates."""
    found: dict[Key, list[Scored]] = defaultdict(list)
    for record in sorted(records, key=lambda record: str(record.provenance.get("date"))):
        for key, predictor in keys_in(record).items():
            if "test" in record.predictors[predictor]["splits"]:
                found[key].append((record, predictor))
    return found


def _row(published: Published, runs: Sequence[Scored]) -> Row:
    first: dict[int, Scored] = {}
    for scored in runs:
        first.setdefault(scored[0].seed, scored)
    counted = tuple(first[seed] for seed in sorted(first))
    return Row(published, counted, tuple(scored for scored in runs if scored not in counted))


def _checked(check: tuple[str, str, str], means: Mapping[str, float | None], about: float) -> Check:
    one, relation, other = check
    low, high = means.get(one), means.get(other)
    if low is None or high is None:
        return Check(f"{one} {relation} {other}", (low, high), NOT_RUN)
    gap = high - low
    holds = {"<": gap > 0, "<=": gap >= 0, "~": abs(gap) <= about}[relation]
    return Check(f"{one} {relation} {other}", (low, high), "holds" if holds else "fails")
