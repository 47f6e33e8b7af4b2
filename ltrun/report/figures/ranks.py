"""Critical-difference diagram: average ranks over data sets, bars join methods that cannot be told apart (Demsar, 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ltrun.report.figures import style
from ltrun.report.ranking import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP = 0.22  # inches between names, and between bars
LEFT, RIGHT = 0.28, 0.72  # ends of the axis, as shares of the width


def ranks(found: Ranking) -> Figure:
    """Returns the figure: the better half of the names at the left, the other half at the right."""
    count = len(found.labels)
    half = (count + 1) // 2
    bars = len(found.cliques)
    height = STEP * (5.5 + bars + max(half, count - half))
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    figure.suptitle(f"Average ranks by {found.measure.lower()}", x=0.01, horizontalalignment="left", fontweight="bold")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(-(bars + max(half, count - half) + 1), 3)
    places = [_place(rank, count) for rank in found.ranks]
    _axis(axes, found, count)
    for i, (first, last) in enumerate(found.cliques):
        ends = [places[first] - 0.006, places[last] + 0.006]
        axes.plot(ends, [-0.6 - i, -0.6 - i], color=style.INK, linewidth=2.5, solid_capstyle="butt")
    for i, (label, rank, place) in enumerate(zip(found.labels, found.ranks, places, strict=True)):
        left = i < half
        y = -(bars + 0.8 + (i if left else count - 1 - i))
        end = LEFT - 0.02 if left else RIGHT + 0.02
        axes.plot([place, place, end], [0, y, y], color=style.MUTED, linewidth=0.7)
        text = f"{style.literal(label)}  {rank:.2f}" if left else f"{rank:.2f}  {style.literal(label)}"
        axes.text(
            end - 0.008 if left else end + 0.008, y, text, fontsize=7,
            horizontalalignment="right" if left else "left", verticalalignment="center",
        )  # fmt: skip
    figure.supxlabel(style.folded(_said(found)), fontsize=7)
    return figure


def _said(found: Ranking) -> list[str]:
    over = f"{len(found.data_sets)} data sets: {style.literal(', '.join(found.data_sets))}"
    bars = ["bars join rows that cannot be told apart (Friedman and Nemenyi, 5%)"] if found.cliques else []
    return [over, "rank 1 is best", *bars, f"Friedman p = {found.p:.3f}"]


def _place(rank: float, count: int) -> float:
    return LEFT + (rank - 1) / (count - 1) * (RIGHT - LEFT)


def _axis(axes: Axes, found: Ranking, count: int) -> None:
    """Draws the axis of ranks, and above it the length of the critical difference."""
    axes.plot([LEFT, RIGHT], [0, 0], color=style.INK, linewidth=0.8)
    for rank in range(1, count + 1):
        place = _place(rank, count)
        axes.plot([place, place], [0, 0.25], color=style.INK, linewidth=0.8)
        axes.text(place, 0.4, str(rank), fontsize=7, horizontalalignment="center", verticalalignment="bottom")
    length = found.critical / (count - 1) * (RIGHT - LEFT)
    end = min(1.0, LEFT + length)
    axes.plot([LEFT, end], [1.9, 1.9], color=style.INK, linewidth=0.8, marker="|", markersize=4)
    beyond = "" if end == LEFT + length else ", longer than the axis"
    axes.text(
        LEFT, 2.15, f"critical difference {found.critical:.2f}{beyond}", fontsize=7, horizontalalignment="left",
        verticalalignment="bottom",
    )  # fmt: skip
