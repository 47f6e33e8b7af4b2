"""Figure of the shot groups side by side: a point for each method, with its value, deviation and single runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from ltrun.report.figures import style
from ltrun.report.measure import Column
from ltrun.report.table import DASH, Cell, Row, Table, verdict_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 1.7  # inches
LEAST = 4.0  # percentage points that an axis spans at least, so that noise does not fill it
WHOLE = 90.0  # percentage points from which an axis counts as whole, not truncated
TEXT = 0.9  # width of the values beside the points, such as 100.0 ± 10.4 in bold, as a fraction of a panel's span


def groups(table: Table, chosen: Sequence[Row] | None = None) -> Figure:
    """Returns the figure: a panel for all classes and for each shot group, with a row for each row of the table. chosen: rows
    to draw; None for the methods' headlines.

    Points, unlike bars, need no zero: each axis is truncated to its data, and all axes span the same range, so that equal
    distances are equal differences.
    """
    rows = style.headlines(table) if chosen is None else chosen
    names = style.names_of(table, rows)
    first = style.first_metric(rows)
    cells = [[_cell(row, table.split, column) for row in rows] for column in first.columns]
    longest = max(len(line) for name in names for line in name.splitlines())
    deep = max(name.count("\n") + 1 for name in names)
    tall = style.LINE * deep + 0.05
    figure = style.figure_of(table, PANEL * len(cells) + style.CHARACTER * longest + 0.3, 1.0 + len(rows) * tall)
    panels = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
    span = max([LEAST, *(high - low for low, high in map(_range, cells))])
    plain = style.baseline(rows)
    shots = style.shots_of(rows)
    for axes, column, found in zip(panels, first.columns, cells, strict=True):
        low, high = _range(found)
        start = max(-1.0, min((low + high - 1.1 * span) / 2, 101 - 1.1 * span))
        axes.set_xlim(start, start + span * (1.1 + TEXT))
        if plain is not None and (mean := found[plain].mean) is not None:
            axes.axvline(mean, color=style.MUTED, linewidth=0.7, linestyle=(0, (4, 1.5)), zorder=1)
        verdict = verdict_on({i: cell for i, cell in enumerate(found) if not rows[i].saw_test}, column.metric.better)
        for i, cell in enumerate(found):
            _point(axes, i, cell, 0.05 / tall, bold=verdict is not None and (verdict.kind, verdict.best) == ("better", i))
        _frame(axes, len(rows), start, start + 1.1 * span)
        if not any(cell.n for cell in found):
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
        below = f"{shots.ranges()[column.group]} images" if shots and column.group else ""
        all_classes = "classes" if column.head == "All" else "all classes"
        axes.set_title(f"{column.head}\n{below or all_classes}", linespacing=1.3)
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)  # in the order of the table
    said = [style.scale(rows, table.split), style.spread(rows)]
    said += [f"dashed: {names[plain]}".replace("\n", " ")] if plain is not None else []
    cut = "truncated axes with one scale" if span < WHOLE else ""
    figure.supxlabel(style.folded([*said, cut, style.dagger(rows)]), fontsize=7)
    return figure


def _point(axes: Axes, place: int, cell: Cell, below: float, bold: bool) -> None:
    """Draws a mean and its deviation, the single runs below, and both numbers at the right edge, bold as in the table."""
    shown = DASH  # a group without classes is not an accuracy of 0
    if cell.mean is not None:
        shown = cell.text(cell.mean) + ("" if cell.std is None else f" ± {cell.text(cell.std)}")
        if cell.n > 1:
            axes.plot(
                cell.values, [place + below] * cell.n, linestyle="", marker="o", markersize=1.8, color=style.MUTED,
                markeredgewidth=0, alpha=0.7, zorder=2,
            )  # fmt: skip
        low, high = _reach(cell, cell.mean)
        axes.plot([low, high], [place, place], color=style.LOOKS[0].colour, linewidth=1.1, zorder=3)
        axes.plot(cell.mean, place, marker="o", markersize=4, color=style.LOOKS[0].colour, zorder=3)
    axes.text(
        0.99, place, shown, transform=axes.get_yaxis_transform(), fontsize=7, horizontalalignment="right",
        verticalalignment="center", fontweight="bold" if bold else "normal",
    )  # fmt: skip


def _frame(axes: Axes, rows: int, low: float, high: float) -> None:
    """Draws stripes that lead the eye along a row, and an axis only below the points, not below the values beside them."""
    for i in range(0, rows, 2):
        axes.axhspan(i - 0.5, i + 0.5, color="0.965", linewidth=0, zorder=0)
    ticks = [tick for tick in MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]
    axes.set_xticks([tick for tick in ticks if 0 <= tick <= 100])
    axes.spines["bottom"].set_bounds(low, high)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _range(cells: Sequence[Cell]) -> tuple[float, float]:
    """Returns the lowest and highest end that an axis must show; the middle for a group without classes."""
    ends = [end for cell in cells if cell.mean is not None for end in (*_reach(cell, cell.mean), *cell.values)]
    return (min(ends), max(ends)) if ends else (50.0, 50.0)


def _reach(cell: Cell, mean: float) -> tuple[float, float]:
    """Returns the mean minus and plus its deviation, within 0 to 100."""
    return max(0.0, mean - (cell.std or 0)), min(100.0, mean + (cell.std or 0))


def _cell(row: Row, split: str, column: Column) -> Cell:
    return Cell.of(column, (record.predictors[name]["splits"][split].get(column.key) for record, name in row.runs))
