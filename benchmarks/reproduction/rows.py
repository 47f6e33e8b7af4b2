"""Rows of the reproduction: the runs of a method with their mean and verdict; checks of the order of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ltrun.config.job import Job
from ltrun.config.presets import Recipe, jobs_of, recipe_of
from ltrun.errors import ConfigError
from ltrun.report.preset_runs import PresetRuns, runs_of, that_may_have_run
from ltrun.results.record import RunRecord
from reproduction.literature import Literature, Published

SEEDS = 3  # a mean over fewer seeds has no verdict
NOT_RUN = "not yet run"


@dataclass(frozen=True)
class Row(PresetRuns):
    """The runs of one method beside its published number."""

    published: Published

    @property
    def beside(self) -> str:
        """`inside`, or the distance of the printed mean from the band: `0.9 below`; empty without a band or a mean."""
        if self.mean is None or self.published.band is None:
            return ""
        (low, high), mean = self.published.band, round(self.mean, 1)
        return f"{low - mean:.1f} below" if mean < low else f"{mean - high:.1f} above" if mean > high else "inside"

    @property
    def verdict(self) -> str:
        """*reproduced* or *outside* with at least three seeds, else the number of seeds and where their mean lies."""
        if not self.n:
            return NOT_RUN
        if self.n < SEEDS:
            return f"{self.n} of {SEEDS}" + (f", {self.beside}" if self.beside else "")
        return "no band" if not self.beside else "reproduced" if self.beside == "inside" else f"outside, {self.beside}"


@dataclass(frozen=True)
class Check:
    """An order of two methods that holds in the literature. means: of both, in percent; None for a method without a run."""

    said: str
    means: tuple[float | None, float | None]
    verdict: str


def rows_of(literature: Literature, records: Sequence[RunRecord], recipe: Recipe) -> list[Row]:
    """The rows of a recipe: all methods for the published recipe, for any other the methods that have runs."""
    found = runs_of(_jobs(literature, records, recipe), records, literature.dataset, recipe)
    rows = [
        Row(found[method].runs, found[method].further, published) if method in found else Row((), (), published)
        for method, published in literature.methods.items()
    ]
    return [row for row in rows if row.n or not recipe]


def _jobs(literature: Literature, records: Sequence[RunRecord], recipe: Recipe) -> dict[str, Job]:
    """Method -> job, of those that may have run; empty for a recipe of another version that this version cannot compose."""
    runs = [record for record in records if recipe_of(record.dataset, record.changes, literature.dataset) == recipe]
    methods = that_may_have_run(literature.methods, runs, literature.dataset)
    try:
        return jobs_of(methods, literature.dataset, recipe)
    except (HydraException, OmegaConfBaseException, ConfigError):
        return {}


def recipes_in(literature: Literature, records: Sequence[RunRecord]) -> list[Recipe]:
    """The recipes of the records: first the published one, then the others by the number of words that they change."""
    found = {recipe_of(record.dataset, record.changes, literature.dataset) for record in records}
    return sorted({(), *found}, key=lambda recipe: (len(recipe), recipe))


def checks_of(literature: Literature, rows: Sequence[Row]) -> list[Check]:
    means = {row.published.method: row.mean for row in rows}
    return [_checked(check, means, literature.about) for check in literature.checks]


def _checked(check: tuple[str, str, str], means: Mapping[str, float | None], about: float) -> Check:
    one, relation, other = check
    low, high = means.get(one), means.get(other)
    if low is None or high is None:
        return Check(f"{one} {relation} {other}", (low, high), NOT_RUN)
    gap = high - low
    holds = {"<": gap > 0, "<=": gap >= 0, "~": abs(gap) <= about}[relation]
    return Check(f"{one} {relation} {other}", (low, high), "holds" if holds else "fails")
