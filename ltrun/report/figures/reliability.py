"""Reliability diagrams: the share of right predictions by their confidence, a panel for each method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ltrun.evaluation.calibration import Reliability
from ltrun.report.figures import style
from ltrun.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 1.75  # inches, the least width of a panel
OVER, UNDER = "#D55E00", "#0072B2"  # bins that are surer than they are right, and the reverse; both of style.LOOKS


def reliability(table: Table, rows: Sequence[Row], found: Sequence[Reliability]) -> Figure:
    """Returns the figure. rows: the rows of the table to show. found: the bins of each, over the images of all its runs."""
    columns = min(len(rows), 4)
    high = -(-len(rows) // columns)
    figure = style.figure_of(table, max(columns * SIDE, 3.5), 1.95 * high + 0.85)
    panels = list(figure.subplots(high, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, name, bins in zip(panels, style.names_of(table, rows), found, strict=False):
        _panel(axes, bins)
        title = "\n".join(textwrap.wrap(name.replace("\n", " "), int(SIDE / style.CHARACTER))[:3])
        axes.set_title(title, fontsize=7, fontweight="bold", loc="left", pad=3)
    for i, axes in enumerate(panels):
        axes.set_visible(i < len(rows))
        axes.tick_params(labelbottom=i + columns >= len(rows))
    words = ["confidence on test (%)", "bars: accuracy of the images of a bin", "orange and blue: too sure and too unsure"]
    words += ["grey line: share of the images", style.dagger(rows)]
    figure.supxlabel(
        "\n".join(textwrap.wrap("; ".join(filter(None, words)), int(columns * SIDE / style.CHARACTER))), fontsize=7
    )
    figure.supylabel("accuracy (%)", fontsize=8)
    return figure


def _panel(axes: Axes, bins: Reliability) -> None:
    """Draws accuracy as bars, their gap to the mean confidence of the bin in colour, and the share of the images as a line."""
    width = 100 / len(bins.images)
    there = bins.images > 0
    middle = width * (np.arange(len(bins.images)) + 0.5)
    right, sure = (100 * sums[there] / bins.images[there] for sums in (bins.right, bins.confidence))
    axes.bar(middle[there], right, width * 0.94, color="0.8", zorder=2)
    colours = [OVER if gap > 0 else UNDER for gap in sure - right]
    axes.bar(middle[there], sure - right, width * 0.94, bottom=right, color=colours, alpha=0.45, zorder=3)
    axes.plot([0, 100], [0, 100], color=style.INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=4)
    share = 100 * bins.images / bins.images.sum()
    axes.step(width * np.arange(len(share) + 1), [*share, share[-1]], where="post", color=style.MUTED, linewidth=0.7, zorder=5)
    axes.set(xlim=(0, 100), ylim=(0, 100), xticks=[0, 50, 100], yticks=[0, 50, 100], aspect="equal")
    axes.text(4, 95, f"ECE {100 * bins.error:.1f}", fontsize=7, verticalalignment="top", zorder=6)
