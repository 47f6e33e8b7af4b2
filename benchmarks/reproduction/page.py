"""The page of the reproduction as Markdown, docs/reproduction.md: our accuracy beside the published accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Template

from ltrun.config.presets import Recipe
from ltrun.report.render.common import number
from ltrun.report.table import DAGGER, DASH, SAW_TEST, Scored
from ltrun.results.record import RunRecord
from reproduction.literature import Literature
from reproduction.rows import Row, checks_of, recipes_in, rows_of

WORDS = Path(__file__).with_name("page.md")
SHORT = "Schedules and deferred switches scale with the epochs. These numbers have no band; they show the order of the methods."
TEXT = ("Method", "Published", "Verdict", "Machine", "In the literature", "Run", "")  # columns of words, not numbers
GROUPS = ("Ours", "Many", "Medium", "Few")


def page(literature: Literature, records: Sequence[RunRecord]) -> str:
    """The words of page.md around tables of published numbers and of runs. Within `composing`."""
    rows = rows_of(literature, records, ())
    others = [(recipe, rows_of(literature, records, recipe)) for recipe in recipes_in(literature, records)[1:]]
    sources = (f"* {said.method}: {said.sources}" for said in literature.methods.values() if said.sources)
    parts = {
        "published": _published(rows),
        "checks": _checks(literature, rows),
        "others": (line for recipe, rows in others if rows for line in _other(literature, recipe, rows)),
        "sources": sources,
        "runs": _runs(records),
    }
    said = {"what": literature.what, "source": literature.source}
    return Template(WORDS.read_text()).substitute(said | {name: "\n".join(lines).strip() for name, lines in parts.items()})


def _published(rows: Sequence[Row]) -> Iterator[str]:
    yield from _table(
        ["Method", "Published", "Band", *GROUPS, "n", "Verdict", "Machine", "Date"],
        (
            [
                _name(row),
                row.published.said,
                "{:g} to {:g}".format(*row.published.band) if row.published.band else DASH,
                *_numbers(row),
                str(row.n),
                f"**{row.verdict}**" if row.verdict.startswith(("reproduced", "outside")) else row.verdict,
                _machines(row.runs),
                _last(row),
            ]
            for row in rows
        ),
    )
    yield from _noted(rows)


def _other(literature: Literature, recipe: Recipe, rows: Sequence[Row]) -> Iterator[str]:
    """The table of another recipe, without bands; for a short form also the checks of the order."""
    short = len(recipe) == 1 and recipe[0].startswith("epochs=")
    yield from (f"## {'Short form' if short else 'Another recipe'}: `{' '.join(recipe)}`", "")
    yield from (SHORT, "") if short else ()
    yield from _table(
        ["Method", *GROUPS, "n", "Machine", "Date"],
        ([_name(row), *_numbers(row), str(row.n), _machines(row.runs), _last(row)] for row in rows),
    )
    yield from _noted(rows)
    yield from ("", *_checks(literature, rows)) if short else ()
    yield ""


def _noted(rows: Sequence[Row]) -> Iterator[str]:
    if any(row.saw_test for row in rows):
        yield from ("", SAW_TEST)


def _checks(literature: Literature, rows: Sequence[Row]) -> Iterator[str]:
    """The checks of the order of methods as a table; ~ is written out."""
    yield from _table(
        ["In the literature", "Ours", ""],
        (
            [
                check.said.replace("<", "&lt;").replace("~", f"within {literature.about:g} points of"),
                " and ".join(DASH if mean is None else f"{mean:.1f}" for mean in check.means),
                check.verdict,
            ]
            for check in checks_of(literature, rows)
        ),
    )


def _runs(records: Sequence[RunRecord]) -> Iterator[str]:
    """All runs, the oldest first."""
    yield from _table(
        ["Run", "Seed", "All", "Machine", "Epochs", "Hours", "Commit", "Date"],
        (
            [
                run.label,
                str(run.seed),
                ", ".join(
                    f"{name} {100 * found['splits']['test']['accuracy']:.1f}"
                    for name, found in run.without_experts().predictors.items()
                    if "test" in found["splits"]
                ),
                _machine(run),
                str(sum(stage["epochs"] for stage in run.stages)),
                f"{sum(stage['seconds'] for stage in run.stages) / 3600:.2f}",
                str(run.provenance.get("commit", DASH))[:12],
                _date(run),
            ]
            for run in sorted(records, key=lambda run: str(run.provenance.get("date")))
        ),
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for line in (header, [":--" if name in TEXT else "--:" for name in header], *rows):
        yield f"| {' | '.join(line)} |"


def _name(row: Row) -> str:
    return f"{row.published.method}{f' {DAGGER}' if row.saw_test else ''}"


def _last(row: Row) -> str:
    """The date of the last run of a row."""
    return max((_date(run) for run, _ in row.runs), default=DASH)


def _numbers(row: Row) -> list[str]:
    return [number(cell, row.averaged) for cell in row.cells]


def _machines(runs: Sequence[Scored]) -> str:
    return "; ".join(sorted({_machine(run) for run, _ in runs})) or DASH


def _machine(run: RunRecord) -> str:
    """The device of a run, with the name of its processor if the record has one, and the arithmetic."""
    origin = run.provenance
    device = str(origin.get("device", ""))
    return f"{origin.get('processor', 'CPU') if device == 'cpu' else device} {origin.get('precision', '')}".strip() or DASH


def _date(run: RunRecord) -> str:
    return str(run.provenance.get("date", DASH))[:10]
