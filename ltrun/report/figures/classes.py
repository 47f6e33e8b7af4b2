"""Figure of accuracy or average precision by class, from the most frequent class to the rarest, above their training images."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ltrun.metrics import GROUPS
from ltrun.report.by_rank import NAMED, Ranks, curve_of
from ltrun.report.figures import style
from ltrun.report.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 600  # most points of a line; smoothed lines have no finer detail
ALONE = 1.1  # inches, the height of a method's own panel
LETTER = 0.055  # inches, the width of a letter in names of shot groups
MARKED = 10  # markers on a line of many classes


class Curve(NamedTuple):
    """The line of a method. mean, std: (P,) over runs, in percent, nan for a class without test images; std is None for one
    run.
    """

    name: str
    mean: np.ndarray
    std: np.ndarray | None


class World(NamedTuple):
    """Data that all panels share. counts: (C,) training images by rank. at: (P,) ranks at which curves have points.

    names: the names of the classes, None for more than NAMED. window: number of classes that curves average over.
    """

    counts: np.ndarray
    at: np.ndarray
    names: list[str] | None
    groups: list[tuple[str, int, int]]  # heading, first rank, rank after the last
    window: int


def classes(table: Table) -> Figure:
    """Returns the figure: one panel for up to six methods; for more, a panel each, with all others in grey behind it."""
    rows = style.headlines(table)
    record = rows[0].runs[0][0]
    ranks = Ranks.of(record.classes["counts"], POINTS)
    counts = np.array(record.classes["counts"])[ranks.order]
    names = [_short(record.classes["names"][i]) for i in ranks.order] if len(counts) <= NAMED else None
    world = World(counts, ranks.at, names, _groups(counts, rows), ranks.window)
    first = style.first_metric(rows).metrics[0]
    named = zip(style.names_of(table, rows), rows, strict=True)
    curves = [Curve(name, *curve_of(row.runs, table.split, first, ranks)) for name, row in named]
    said = style.scale(rows, table.split, of_class=True)
    if len(rows) <= len(style.LOOKS):
        return _together(table, rows, curves, world, said)
    return _apart(table, rows, curves, world, said)


def _together(table: Table, rows: Sequence[Row], curves: Sequence[Curve], world: World, said: str) -> Figure:
    longest = max(len(line) for curve in curves for line in curve.name.splitlines())
    lines = sum(curve.name.count("\n") + 1 for curve in curves)
    wide = style.WIDTH * 0.75 + style.CHARACTER * longest + 0.6
    figure = style.figure_of(table, wide, max(3.2, style.LINE * (lines + 6)))
    axes, sizes = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    every = max(1, len(world.at) // MARKED)
    for i, (curve, look) in enumerate(zip(curves, style.LOOKS, strict=False)):
        (line,) = axes.plot(world.at, curve.mean, linestyle=look.dash, color=look.colour, linewidth=1.4, label=curve.name)
        line.set(marker=look.marker, markersize=4.5, markeredgecolor="white", markeredgewidth=0.5)
        line.set_markevery(None if world.names else (i * every // len(curves), every))
        _band(axes, world, curve, look.colour)
    axes.set_ylabel(said)
    _bounds(axes, curves)
    _boundaries(axes, world, style.WIDTH * 0.66)
    _boundaries(sizes, world)
    _sizes(sizes, world)
    sizes.set_ylabel("images\n(log)")
    _ranks(sizes, world, style.WIDTH * 0.66)
    sizes.set_xlabel("; ".join(filter(None, [_below(world), style.dagger(rows)])))
    figure.align_ylabels()
    over = style.spread(rows).replace(" of ", "\nof ")
    figure.legend(loc="outside right upper", frameon=False, handlelength=3.2, title=over, title_fontsize=7, alignment="left")
    return figure


def _apart(table: Table, rows: Sequence[Row], curves: Sequence[Curve], world: World, said: str) -> Figure:
    cells = len(curves) + 1  # the last panel has the sizes of the classes
    columns = 4 if cells <= 8 else 5 if cells <= 35 else 6
    high = -(-cells // columns)
    figure = style.figure_of(table, style.WIDTH, ALONE * high + (1.4 if world.names else 1.0))
    panels = list(figure.subplots(high, columns, sharex=True, squeeze=False).flat)
    plain = style.baseline(rows)
    for i, (axes, curve) in enumerate(zip(panels, curves, strict=False)):
        _alone(axes, curve, curves, None if plain is None else curves[plain], world)
        _boundaries(axes, world, style.WIDTH / columns * 0.8 if i < columns else 0.0)
        title = _fitted(curve.name, columns)
        axes.set_title(title, fontsize=7, fontweight="bold", loc="left", pad=10 if i < columns else 3)
        axes.tick_params(labelleft=i % columns == 0)
    _sizes_alone(panels[len(curves)], world)
    for i, axes in enumerate(panels):
        axes.set_visible(i < cells)
        axes.tick_params(labelbottom=i + columns >= cells)
        _ranks(axes, world, style.WIDTH / columns * 0.8)
    key = ["thick: the method", "grey: all others", style.spread(rows)]
    key += ["dashed: " + curves[plain].name.replace("\n", " ")] if plain is not None else []
    figure.supxlabel(style.folded([_below(world), *key, style.dagger(rows)]), fontsize=7)
    figure.supylabel(said, fontsize=8)
    return figure


def _alone(axes: Axes, curve: Curve, curves: Sequence[Curve], plain: Curve | None, world: World) -> None:
    """Draws one method in front of all others, and plain training dashed."""
    for other in curves:
        axes.plot(world.at, other.mean, color=style.FAINT, linewidth=0.5)
    if plain is not None:
        axes.plot(world.at, plain.mean, color=style.INK, linewidth=0.8, linestyle=(0, (4, 1.5)))
    axes.plot(world.at, curve.mean, color=style.LOOKS[0].colour, linewidth=1.4)
    _band(axes, world, curve, style.LOOKS[0].colour)
    _bounds(axes, curves)


def _sizes_alone(axes: Axes, world: World) -> None:
    """Draws the sizes of the classes in their own panel, with the largest and the smallest number beside their bars."""
    _sizes(axes, world)
    _boundaries(axes, world)
    axes.set_title("training images (log)", fontsize=7, loc="left", pad=3)
    axes.set_yticks([])
    edges = [(0, -0.5, "left"), (len(world.counts) - 1, len(world.counts) - 0.5, "right")]
    for rank, x, side in edges:
        place = (x, max(world.counts[rank], axes.get_ylim()[0]))
        axes.annotate(
            f"{world.counts[rank]:,}",
            place,
            xytext=(0, 1.5),
            textcoords="offset points",
            horizontalalignment=side,
            fontsize=6.5,
        )


def _groups(counts: np.ndarray, rows: Sequence[Row]) -> list[tuple[str, int, int]]:
    """Returns heading, first rank and end of each shot group; none if the limits of the groups differ among runs."""
    shots = style.shots_of(rows)
    if shots is None:
        return []
    found, start = [], 0
    for key, members in groupby(shots.group(count) for count in counts):
        end = start + len(list(members))
        found.append((GROUPS[key], start, end))
        start = end
    return found


def _band(axes: Axes, world: World, curve: Curve, colour: str) -> None:
    if curve.std is not None:
        low, high = np.clip(curve.mean - curve.std, 0, 100), np.clip(curve.mean + curve.std, 0, 100)
        axes.fill_between(world.at, low, high, color=colour, alpha=0.16, linewidth=0)


def _bounds(axes: Axes, curves: Sequence[Curve]) -> None:
    tops = [np.nanmax(np.append(curve.mean + (0 if curve.std is None else np.nan_to_num(curve.std)), 1)) for curve in curves]
    axes.set_ylim(0, min(101.5, 1.06 * max(tops)))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="y", color="0.93", linewidth=0.6)
    axes.set_axisbelow(True)


def _boundaries(axes: Axes, world: World, wide: float = 0.0) -> None:
    """Draws lines between the shot groups, and above them their names, pushed apart if they would overlap.

    wide: inches of the panel; 0 draws no names.
    """
    edge = -np.inf
    for name, start, end in world.groups:
        if start:
            axes.axvline(start - 0.5, color=style.MUTED, linewidth=0.6, linestyle=(0, (2, 2)))
        if not wide:
            continue
        half = (len(name) + 1) * LETTER * len(world.counts) / wide / 2  # in ranks
        place = max((start + end - 1) / 2, edge + half)
        edge = place + half
        axes.annotate(
            name, (place, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
            horizontalalignment="center", color=style.MUTED, fontsize=6.5,
        )  # fmt: skip


def _sizes(axes: Axes, world: World) -> None:
    """Draws training images on a logarithmic axis that begins well below the rarest class, so that its bar is visible."""
    positive = world.counts[world.counts > 0]
    low, high = (positive.min(), positive.max()) if len(positive) else (1, 1)
    floor = low / max(2.0, (high / low) ** 0.25)
    axes.set_yscale("log")
    axes.set_ylim(floor, high * (high / floor) ** 0.12)
    if world.names:
        axes.bar(range(len(world.counts)), world.counts, width=0.7, color="0.72")
    else:
        axes.fill_between(
            range(len(world.counts)), floor, np.maximum(world.counts, floor), color="0.72", step="mid", linewidth=0
        )
    axes.yaxis.set_major_locator(FixedLocator(sorted({int(low), int(high)})))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _ranks(axes: Axes, world: World, wide: float) -> None:
    """Labels the axis with ranks or class names. wide: inches of the panel; if the names do not fit in it, they are rotated."""
    axes.set_xlim(-0.6, len(world.counts) - 0.4)
    if world.names:
        room = wide / len(world.names)
        if style.CHARACTER * (max(map(len, world.names)) + 1) < room:
            axes.set_xticks(range(len(world.names)), world.names)
        elif room > 0.2:
            turned: dict[str, Any] = {
                "rotation": 45,
                "horizontalalignment": "right",
                "rotation_mode": "anchor",
                "fontsize": 6.5,
            }
            axes.set_xticks(range(len(world.names)), world.names, **turned)
        else:
            axes.set_xticks(range(len(world.names)), world.names, rotation=90, fontsize=6 if room > 0.1 else 4)
        return
    steps = MaxNLocator(4 if wide > 2 else 2, integer=True).tick_values(1, len(world.counts))
    ranks = [1, *(int(rank) for rank in steps if 1 < rank <= len(world.counts))]
    axes.set_xticks([rank - 1 for rank in ranks], [f"{rank:,}" for rank in ranks])


def _below(world: World) -> str:
    return "classes, most frequent first" + (f"; lines: running mean over {world.window} classes" if world.window > 1 else "")


def _short(name: str) -> str:
    """Shortens a long name to its two ends, because long names often differ only there."""
    return style.literal(name if len(name) <= 18 else f"{name[:9]}…{name[-8:]}")


def _fitted(name: str, columns: int) -> str:
    """Folds a name for the title of its panel, into at most two lines."""
    width = int(style.WIDTH / columns / style.CHARACTER)
    lines = textwrap.wrap(name.replace("\n", " "), width, break_long_words=True)
    return "\n".join(lines if len(lines) < 3 else [lines[0], f"…{name[1 - width :]}"])  # similar names differ at the end
