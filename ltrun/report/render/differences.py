"""Text and JSON of comparisons.

{"format": 1, "comparisons": [comparison, ...], "notes": [text, ...]}
comparison  title: the data set and its changes; metric; one, other: labels; seeds; comparisons: the number whose p is
            corrected; better: "one", "other" or null; sentence, notes: text; columns
column      key, head; images; one, other: means, and difference, low, high: its 95% interval, fractions of 1; net_images, or
            null; p: corrected; p_alone: not corrected; by_seed: differences; all null for a group without images
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ltrun.metrics import BALANCED, MULTI_LABEL
from ltrun.report.differences import Compared, Comparison
from ltrun.report.ranking import Ranking
from ltrun.report.table import DASH
from ltrun.statistics.power import images_needed, seeds_needed

FORMAT = 1
SEEDS = 3  # the number to advise where one seed was trained
FEW_IMAGES = 30  # fewer make an interval rough


def lines(comparison: Comparison) -> Iterator[str]:
    """Yields a comparison as text: a title, a row for each column, and sentences."""
    yield f"{comparison.table.heading}: {comparison.one} against {comparison.other}, {_over(comparison)}"
    corrected = f" (Holm, {comparison.together})" if comparison.together > 1 else ""
    rows = [["", comparison.one, comparison.other, "difference", "95% interval", "images", f"p{corrected}"]]
    rows += [_cells(column) for column in comparison.columns]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = row
        shown = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        yield f"  {'  '.join([first.ljust(widths[0]), *shown])}".rstrip()
    yield sentence(comparison)
    yield from (f"note: {note}" for note in notes(comparison))


def _over(comparison: Comparison) -> str:
    seeds = ", ".join(map(str, comparison.seeds))
    return f"seed {seeds}" if len(comparison.seeds) == 1 else f"{len(comparison.seeds)} seeds ({seeds})"


def _cells(column: Compared) -> list[str]:
    found, metric = column.found, column.column.metric
    if found is None or column.one is None or column.other is None or column.p is None:
        return [column.column.head, *[DASH] * 6]
    means = [f"{100 * value:.1f}" for value in (column.one, column.other)]
    apart = f"{_signed(found.low)} to {_signed(found.high)}"
    net = DASH if column.net is None else f"{_net(column.net)} of {column.images:,}"
    return [column.column.head if metric.by_shots else metric.head, *means, _signed(found.value), apart, net, _p(column.p)]


def _signed(value: float) -> str:
    """Returns a fraction of 1 in points, with a sign; zero has none."""
    text = f"{100 * value:+.1f}"
    return text[1:] if float(text) == 0 else text


def _net(images: float) -> str:
    return f"{round(images):+,}" if round(images) else "0"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def sentence(comparison: Comparison) -> str:
    """Returns the verdict on the column of all classes."""
    whole = comparison.whole
    found, one, other = whole.found, comparison.one, comparison.other
    if found is None or whole.p is None:
        return f"{one} and {other} have no test images to compare."
    if found.value == 0 and found.images == 0:
        return f"{one} and {other} are equal: they are right and wrong on the same images."
    by = f"{_signed(found.value)} points of {whole.column.metric.title.lower()}"
    p = _p(whole.p)
    by += f", 95% interval {_signed(found.low)} to {_signed(found.high)}, p {p if p.startswith('<') else f'= {p}'}"
    by += f", {_net(whole.net)} of {whole.images:,} images" if whole.net is not None else ""
    if found.n == 1:
        apart = "differ by more than" if comparison.better is not None else "do not differ by more than"
        advice = f"one seed says nothing of other seeds, so train both with seed={','.join(map(str, range(SEEDS)))}"
        return f"These two runs {apart} the noise of the test images alone ({by}); {advice}."
    if comparison.better is not None:
        winner, loser = (one, other) if comparison.better else (other, one)
        return f"{winner} is better than {loser} ({by})."
    return f"{one} and {other} cannot be told apart with n = {found.n}{_needed(comparison)} ({by})."


def _needed(comparison: Comparison) -> str:
    """Returns how many seeds, or how many test images, a difference of this size would need."""
    found = comparison.whole.found
    if found is None or found.value == 0:
        return ""
    if seeds := seeds_needed(found, comparison.together):
        return f": about {seeds} seeds would be needed"
    there, images = comparison.whole.images, images_needed(found, comparison.whole.images)
    if images and images > there:
        return f": no number of seeds would do on {there:,} test images; about {images:,} images would be needed"
    return ": more than 1,000 seeds would be needed"


def notes(comparison: Comparison) -> Iterator[str]:
    """Yields what is left out, and what weakens the numbers."""
    yield from comparison.notes
    few = [column.column.head for column in comparison.columns if 0 < column.images < FEW_IMAGES]
    if few:
        yield f"fewer than {FEW_IMAGES} test images, so the interval is rough: {', '.join(few)}"


def explained(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Yields how the numbers were made, once for all comparisons."""
    several = any(len(comparison.seeds) > 1 for comparison in comparisons)
    over = "seeds and test images, drawn alike for both rows" if several else "test images, drawn alike for both rows"
    yield f"Intervals and p by a bootstrap over {over}" + (", with Student's t for few seeds." if several else ".")
    if any(comparison.whole.column.metric.name == BALANCED[MULTI_LABEL] for comparison in comparisons):
        yield "For mean average precision, the bootstrap's variance over images is taken to first order, without resamples."
    if any(comparison.together > 1 for comparison in comparisons):
        yield "p is corrected for the number of comparisons by Holm's method, column by column; intervals are not."


def as_json(comparisons: Sequence[Comparison], told: Sequence[str], ranks: Ranking | None = None) -> str:
    """Returns valid JSON: ASCII, without NaN."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "comparisons": [_comparison(each) for each in comparisons],
        "notes": list(told),
    }
    content["ranking"] = ranks and ranks.content()
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "title": comparison.table.title,
        "metric": comparison.table.measure.name,
        "one": comparison.one,
        "other": comparison.other,
        "seeds": list(comparison.seeds),
        "comparisons": comparison.together,
        "better": None if comparison.better is None else "one" if comparison.better else "other",
        "sentence": sentence(comparison),
        "notes": list(notes(comparison)),
        "columns": [_column(column) for column in comparison.columns],
    }


def _column(column: Compared) -> dict[str, Any]:
    found = column.found
    return {
        "key": column.column.key,
        "head": column.column.head,
        "images": column.images,
        "one": column.one,
        "other": column.other,
        "difference": found and found.value,
        "low": found and found.low,
        "high": found and found.high,
        "net_images": column.net,
        "p": column.p,
        "p_alone": found and found.p,
        "by_seed": found and list(found.by_seed),
    }
