"""Heat maps of confusion and the matrices behind them; needs matplotlib, which `ltrun[plots]` brings."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltrun.errors import ConfigError
from ltrun.metrics import GROUPS
from ltrun.report.confusion import RIGHT, Confusion, Fractions
from ltrun.report.render.common import plain
from ltrun.report.table import DASH
from ltrun.results.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 100  # classes that a heat map shows one by one; more are shown by shot group
NAMED = 40  # classes that are named along its sides
WRITTEN = 15  # classes whose numbers stand in the cells
LONGEST = 20  # characters of a name
CHARACTER = 0.075  # inches that one takes
COLOURS = "Blues"  # from almost white to dark: it prints in grey


def draw(found: Sequence[Confusion], folder: Path, format: str = "png") -> list[Path]:
    """Writes the heat map and the matrix of each confusion. Returns the files. format: of the figures."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError("--confusion needs matplotlib: install it with pip install 'ltrun[plots]'") from error
    written = []
    for number, confusion in enumerate(found, 1):
        stem = folder / f"{number}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', confusion.title).strip('_')[:100]}-confusion"
        data = io.BytesIO()
        heat_map(confusion).savefig(data, format=format, dpi=160)
        for file, content in (
            (stem.with_name(f"{stem.name}.{format}"), data.getvalue()),
            (stem.with_name(f"{stem.name}.csv"), matrix(confusion).encode()),
        ):
            write_atomically(file, content)
            written.append(file)
    return written


def matrix(confusion: Confusion) -> str:
    """Comma-separated: a line a label, a column a prediction, both by class size; fractions of the label's test images."""
    order, names = confusion.order.tolist(), [plain(name) for name in confusion.names]
    keys = list(GROUPS)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["label", "training_images", "group", *(names[c] for c in order)])
    for c, shares in zip(order, confusion.shares, strict=True):
        values = ["" if np.isnan(share) else f"{share:.6g}" for share in shares]
        writer.writerow([names[c], confusion.images[c], keys[confusion.groups[c]], *values])
    return out.getvalue()


def heat_map(confusion: Confusion) -> Figure:
    """Labels downwards, predictions to the right, most frequent classes first; of many classes, by shot group."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    many = len(confusion.names) > MOST
    values = 100 * (confusion.grouped() if many else confusion.shares)
    rows, columns = values.shape
    side = 4.2 if many else min(8.5, max(3.6, 0.42 * rows if rows <= WRITTEN else 0.2 * rows))
    names = CHARACTER * max(map(len, map(_short, confusion.names))) if rows <= NAMED else 0.2
    figure = Figure(figsize=(side * columns / rows + 1.9 + names, side + 1 + names), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.85")  # where there is no number
    # the square root: rare confusions of a few percent are told from none
    image = axes.imshow(values, cmap=COLOURS, norm=PowerNorm(0.5, 0, 100), interpolation="nearest", aspect="equal")
    _label_groups(axes, confusion) if many else _label_classes(axes, confusion)
    if many or rows <= WRITTEN:
        _write(axes, values)
    beside = axes.inset_axes((1.03, 0, 0.16 / (side * columns / rows), 1))
    bar = figure.colorbar(image, cax=beside, ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    bar.set_label("test images of the label (%)" if not many else "test images, mean over the group's classes (%)")
    bar.outline.set_visible(False)
    runs = f", mean of {len(confusion.runs)} runs" if len(confusion.runs) > 1 else ""
    axes.set_title(plain(confusion.title + runs).replace("$", r"\$"), fontsize="medium", wrap=True)
    return figure


def _label_groups(axes: Axes, confusion: Confusion) -> None:
    heads, ranges = list(GROUPS.values()), list(confusion.shots.ranges().values())
    sizes = [int((confusion.groups == group).sum()) for group in range(len(GROUPS))]
    labels = [f"{head}\n{images}\n{size:,} classes" for head, images, size in zip(heads, ranges, sizes, strict=True)]
    axes.set_yticks(range(len(heads)), labels)
    axes.set_xticks(range(len(heads) + 1), [RIGHT, *(f"Other:\n{head.lower()}" for head in heads)])
    axes.tick_params(length=0)
    axes.set(ylabel="label: training images a class", xlabel="prediction")
    axes.axvline(0.5, color="0.3", linewidth=1)
    axes.spines[:].set_visible(False)


def _label_classes(axes: Axes, confusion: Confusion) -> None:
    """Names where there is room for them, and lines between the shot groups."""
    classes, groups = len(confusion.names), confusion.groups[confusion.order]
    borders = np.flatnonzero(np.diff(groups)) + 0.5
    for border in borders.tolist():
        axes.axhline(border, color="0.3", linewidth=0.8)
        axes.axvline(border, color="0.3", linewidth=0.8)
    if classes <= NAMED:
        names = [_short(confusion.names[c]) for c in confusion.order.tolist()]
        upright = classes > WRITTEN or max(map(len, names)) > 3
        axes.set_xticks(range(classes), names, rotation=90 if upright else 0, fontsize="small")
        axes.set_yticks(range(classes), names, fontsize="small")
        parted = "; lines part many-, medium- and few-shot classes" if len(borders) else ""
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
        colour: Any = "white" if value > 30 else "black"
        axes.text(column, row, text, color=colour, fontsize="small", horizontalalignment="center", verticalalignment="center")


def _short(name: str) -> str:
    shown = plain(name).replace("$", r"\$")
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
