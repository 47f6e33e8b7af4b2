"""The two figures of every long-tailed paper, as PNG files; needs matplotlib, which `ltrun[plots]` brings."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltrun.errors import ConfigError
from ltrun.metrics import TASKS
from ltrun.report.group import PREDICTOR
from ltrun.report.measure import Column, Measure
from ltrun.report.render.common import plain
from ltrun.report.table import DASH, Cell, Row, Table
from ltrun.results.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")  # Okabe and Ito, 2008
# once the colours are used up
DASHES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (8, 3)), (0, (3, 1, 1, 1)), (0, (6, 2, 1, 2, 1, 2)))
CHARACTER = 0.068  # inches that one takes in a small font
LINE = 0.19  # inches


def plot(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Writes a figure of each class against its rank and one of the shot groups, for each table. Returns the files.

    Both show the first metric of the task, whichever the table shows.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError("--plots needs matplotlib: install it with pip install 'ltrun[plots]'") from error
    written = []
    for i, table in enumerate(tables):
        if not _headlines(table):
            continue
        stem = f"{i + 1}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', table.title).strip('_')[:80]}"
        figures = {"groups": _groups(table)}
        if len({tuple(record.classes["counts"]) for row in table.rows for record, _ in row.runs}) == 1:
            figures = {"classes": _classes(table), **figures}  # not where rows are averaged over data sets
        for name, figure in figures.items():
            data = io.BytesIO()
            figure.savefig(data, format="png", dpi=160)
            written.append(folder / f"{stem}-{name}.png")
            write_atomically(written[-1], data.getvalue())
    return written


def _classes(table: Table) -> Figure:
    """The first metric over classes from the most frequent to the rarest, smoothed over a tenth of them, above their sizes."""
    rows = _headlines(table)
    longest = max(len(_name(row)) for row in rows)
    columns = max(1, min(3, int(7 / (CHARACTER * (longest + 8)))))  # of the legend
    figure = _figure(max(7, CHARACTER * (longest + 8)), 4 + LINE * -(-len(rows) // columns))
    axes = figure.subplots()
    sizes = axes.twinx()
    width = len(rows[0].runs[0][0].classes["counts"]) // 10 | 1  # odd, so that a class is in the middle of its neighbours
    for row, (dash, colour) in zip(rows, _styles(), strict=False):
        counts, means = _ranked(row, table.split)
        smooth = [_mean(means[max(0, i - width // 2) : i + width // 2 + 1]) for i in range(len(means))]
        points = [float("nan") if value is None else value for value in smooth]  # a gap where a class has no test images
        axes.plot(points, linestyle=dash, color=colour, label=_name(row), linewidth=1.5)
        if row is rows[0]:
            sizes.fill_between(range(len(counts)), counts, color="0.9", step="mid")
    smoothed = f", mean of {width} classes" if width > 1 else ""
    axes.set(xlabel="classes, most frequent first", ylabel=f"{_scale(rows, table.split)}{smoothed}")
    axes.set(title=_literal(table.title), ylim=(0, None))
    sizes.set(ylabel="training images (grey)", yscale="log")
    axes.set_zorder(sizes.get_zorder() + 1)
    axes.patch.set_visible(False)
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize="small")
    return figure


def _groups(table: Table) -> Figure:
    """A panel for all classes and for each shot group, a bar for each row; whiskers are one deviation over the runs."""
    rows = _headlines(table)
    names = [_name(row) for row in rows]
    figure = _figure(6.5 + CHARACTER * max(map(len, names)), 1.2 + LINE * len(rows))
    first = _first(rows)
    panels = figure.subplots(1, len(first.columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, first.columns, strict=True):
        cells = [_cell(row, table.split, column) for row in rows]
        there = [i for i, cell in enumerate(cells) if cell.n]
        means, spread = [cells[i].mean for i in there], [cells[i].std or 0.0 for i in there]
        axes.barh(there, means, xerr=spread, color=PALETTE[0], ecolor="0.3")
        for i in set(range(len(rows))).difference(there):
            axes.text(2, i, DASH, verticalalignment="center")  # no such classes, rather than no image right
        axes.set(title=column.head, xlim=(0, 100 if first.percent else None))
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    panels[0].set_yticks(range(len(rows)), names, fontsize="small")
    panels[0].set_ylim(len(rows) - 0.5, -0.5)  # in the order of the table
    figure.suptitle(_literal(table.title))
    figure.supxlabel(_scale(rows, table.split), fontsize=10)
    return figure


def _name(row: Row) -> str:
    return _literal(", ".join(row.names))


def _literal(text: str) -> str:
    """Dollars would begin a formula."""
    return plain(text).replace("$", r"\$")


def _figure(width: float, height: float) -> Figure:
    """In inches."""
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    return Figure(figsize=(width, height), layout="constrained")


def _headlines(table: Table) -> list[Row]:
    """Rows of the predictors that stand for their methods, if any; further ones would double the lines.

    A table of costs has runs that were not evaluated on its split; they are left out.
    """
    rows = []
    for row in table.rows:
        if runs := tuple((record, name) for record, name in row.runs if table.split in record.predictors[name]["splits"]):
            rows.append(replace(row, runs=runs))
    standing = [row for row in rows if row.keys.get(PREDICTOR, row.runs[0][1]) == row.runs[0][0].headline]
    return standing or rows


def _styles() -> cycle[tuple[Any, str]]:
    return cycle(product(DASHES, PALETTE))


def _ranked(row: Row, split: str) -> tuple[list[int], list[float | None]]:
    """(training images, the first metric averaged over the runs) of each class, most frequent first."""
    counts, column = row.runs[0][0].classes["counts"], _first([row]).columns[0]
    each = [record.predictors[name]["splits"][split]["per_class"] for record, name in row.runs]
    means = [Cell.of(column, values).mean for values in zip(*each, strict=False)]
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    return [counts[i] for i in order], [means[i] for i in order]


def _mean(values: Sequence[float | None]) -> float | None:
    return Cell(tuple(value for value in values if value is not None)).mean


def _first(rows: Sequence[Row]) -> Measure:
    """The first metric of the rows' task, with its shot groups."""
    return Measure.of(TASKS[rows[0].runs[0][0].task][0])


def _scale(rows: Sequence[Row], split: str) -> str:
    """What an axis shows: `Top-1 accuracy on test (%)`."""
    first = _first(rows)
    return f"{first.title} on {split}" + (" (%)" if first.percent else "")


def _cell(row: Row, split: str, column: Column) -> Cell:
    return Cell.of(column, (record.predictors[name]["splits"][split].get(column.key) for record, name in row.runs))
