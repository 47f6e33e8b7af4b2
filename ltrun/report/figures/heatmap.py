"""Heat map of a confusion matrix, by shot group if there are many classes."""

from __future__ import annotations

import textwrap
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from ltrun.metrics import GROUPS
from ltrun.report.confusion import Confusion
from ltrun.report.counted import Fractions
from ltrun.report.figures.style import CHARACTER, INK, MUTED, WIDTH, literal
from ltrun.report.render.common import plain
from ltrun.report.table import DASH

MOST = 100  # most classes that are shown one by one; more are shown by shot group
NAMED = 40  # most classes that are named along the sides
WRITTEN = 15  # most classes whose numbers are written in the cells
LONGEST = 20  # characters of a name
COLOURS = "Blues"  # from almost white to dark, so that it prints in grey
EMPTY = "0.85"  # grey of cells without a number
DARK = 30  # percent above which numbers are written in white
SEVERAL = (
    "Row: the test images with a label. Diagonal: share in which the label is predicted (recall). Elsewhere: share in which "
    "the class of the column is predicted and is no label of the image. A row may add up to more or less than 100%."
)
SEVERAL_BY_GROUP = (
    "Row: the test images with a label. Recall: share in which the label is predicted. False: share in which a class of the "
    "group is predicted that is no label of the image. A row may add up to more or less than 100%."
)


def heat_map(confusion: Confusion) -> Figure:
    """Returns the figure: labels are rows, predictions columns, most frequent first; more than MOST classes by shot group."""
    many = len(confusion.names) > MOST
    values = 100 * (confusion.grouped() if many else confusion.shares)
    rows, columns = values.shape
    side = 0.75 * rows if many else min(WIDTH - 1.6, max(2.2, (0.28 if rows <= WRITTEN else 0.13) * rows))
    names = CHARACTER * max(map(len, map(_short, confusion.names))) if rows <= NAMED and not many else 0.2
    wide = side * columns / rows
    left, below = (0.8, 0.4) if many else (names, names)
    figure = Figure(figsize=(wide + left + 1.35, side + below + 0.75), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(EMPTY)
    # square root: confusions of a few percent can be told from none
    image = axes.imshow(values, cmap=COLOURS, norm=PowerNorm(0.5, 0, 100), interpolation="nearest", aspect="equal")
    _label_groups(axes, confusion) if many else _label_classes(axes, confusion)
    axes.spines[:].set_visible(not many)
    if many or rows <= WRITTEN:
        _write(axes, values)
    bar = figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.1 / wide, 1)), ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("test images, mean over the group's classes (%)" if many else "share of the label's test images (%)")
    bar.outline.set_visible(False)
    runs = f", mean of {len(confusion.runs)} runs" if len(confusion.runs) > 1 else ""
    title = textwrap.fill(literal(confusion.title + runs), int((wide + left + 1) / CHARACTER))
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontweight="bold")
    if confusion.several:
        said = SEVERAL_BY_GROUP if many else SEVERAL
        figure.supxlabel(textwrap.fill(said, int((wide + left + 1) / CHARACTER)), fontsize=6.5)
    return figure


def _label_groups(axes: Axes, confusion: Confusion) -> None:
    heads, ranges = list(GROUPS.values()), list(confusion.shots.ranges().values())
    sizes = [int((confusion.groups == group).sum()) for group in range(len(GROUPS))]
    labels = [f"{head}\n{images}\n{size:,} classes" for head, images, size in zip(heads, ranges, sizes, strict=True)]
    axes.set_yticks(range(len(heads)), labels)
    right, wrong = ("Recall", "False") if confusion.several else ("Right", "Wrong")
    axes.set_xticks(range(len(heads) + 1), [right, *(f"{wrong}:\n{head.lower()}" for head in heads)])
    axes.tick_params(length=0)
    axes.set(ylabel="label: training images per class", xlabel="prediction")
    axes.axvline(0.5, color=MUTED, linewidth=1)


def _label_classes(axes: Axes, confusion: Confusion) -> None:
    """Labels the axes with class names if there is room, else with shot groups, and draws lines between the groups."""
    classes, groups = len(confusion.names), confusion.groups[confusion.order]
    borders = np.flatnonzero(np.diff(groups)) + 0.5
    for border in borders.tolist():
        axes.axhline(border, color=MUTED, linewidth=0.6)
        axes.axvline(border, color=MUTED, linewidth=0.6)
    if classes <= NAMED:
        names = [_short(confusion.names[c]) for c in confusion.order.tolist()]
        upright = classes > WRITTEN or max(map(len, names)) > 3
        axes.set_xticks(range(classes), names, rotation=90 if upright else 0)
        axes.set_yticks(range(classes), names)
        parted = "; lines separate many-, medium- and few-shot classes" if len(borders) else ""
        axes.set(xlabel=f"prediction{parted}", ylabel="label, most frequent first")
        return
    edges = [-0.5, *borders.tolist(), classes - 0.5]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    there = [list(GROUPS.values())[groups[round(middle)]] for middle in middles]
    axes.set_xticks(middles, there)
    axes.set_yticks(middles, there, rotation=90, verticalalignment="center")
    axes.tick_params(length=0)
    axes.set(xlabel="prediction, most frequent classes first", ylabel="label, most frequent classes first")


def _write(axes: Axes, values: Fractions) -> None:
    for (row, column), value in np.ndenumerate(values):
        text = DASH if np.isnan(value) else "" if value == 0 else "<1" if value < 0.5 else f"{value:.0f}"
        colour: Any = "white" if value > DARK else INK
        axes.text(column, row, text, color=colour, fontsize=7, horizontalalignment="center", verticalalignment="center")


def _short(name: str) -> str:
    """Shortens a name. Escapes dollars last, because shortening could cut off a backslash."""
    shown = plain(name)
    return literal(shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…")
