"""Description of a data set on the console: its size, its tail and its shot groups."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ltrun.data.source import Splits
from ltrun.metrics import GROUPS, Shots
from ltrun.types import ClassStats

COLOURS = dict(zip(GROUPS, ("green", "yellow", "red"), strict=True))
EIGHTHS = " ▏▎▍▌▋▊▉"
LABEL_WIDTH = 24


def describe(
    name: str, splits: Splits, console: Console, chart: bool = True, many: int = Shots.many, few: int = Shots.few
) -> None:
    """Prints the classes, the images of each split, the imbalance factor, the Gini coefficient, the notes of the data set and
    the shot groups.

    chart: also a bar chart of the training images of each class, from the largest class to the smallest.
    """
    stats, shots = splits.stats, Shots(many, few)
    largest, smallest = int(stats.counts.max()), int(stats.counts.min())
    validation = f", {len(splits.val):,} validation" if splits.val else ""
    spread = f"imbalance factor {stats.imbalance_factor:.4g}, Gini {stats.gini:.3f}"
    lines = [
        f"{name}: {stats.num_classes:,} classes; images: {len(splits.train):,} training{validation}, {len(splits.test):,} test",
        f"{largest:,} to {smallest:,} training images per class: {spread}",
    ]
    if splits.skipped:
        were = "image was" if splits.skipped == 1 else "images were"
        lines.append(f"{splits.skipped:,} unreadable {were} left out")
    labels = splits.train.targets.labels
    if labels.ndim == 2:
        each = labels.sum(1)
        without = f"{int((each == 0).sum()):,} training images without a label"
        lines.append(f"{each.double().mean():.3g} labels per training image, at most {int(each.max())}; {without}")
    for line in (*lines, *splits.notes):
        console.print(Text(line))
    console.print(_groups(stats, shots, "images" if labels.ndim == 1 else "labels"))
    if chart:
        console.print(_chart(stats, console, shots))


def _groups(stats: ClassStats, shots: Shots, counted: str) -> Table:
    table = Table("", *GROUPS, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    masks = stats.shots(shots.many, shots.few).values()
    table.add_row("training images per class", *shots.ranges().values())
    table.add_row("classes", *(f"{int(mask.sum()):,}" for mask in masks))
    table.add_row(counted, *(f"{int(stats.counts[mask].sum()):,}" for mask in masks))
    return table


def _chart(stats: ClassStats, console: Console, shots: Shots) -> Table:
    """Returns a chart with one bar per class; on a screen with too few lines, one bar per group of classes alike in size."""
    counts = stats.counts.numpy()
    order = np.argsort(-counts, kind="stable")
    bins = np.array_split(order, min(len(order), max(10, console.height - 12)))
    ranks = np.cumsum([0] + [len(some) for some in bins])
    grid = Table.grid(padding=(0, 1))
    grid.add_column(max_width=LABEL_WIDTH, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    rows = []
    for some, first, last in zip(bins, ranks, ranks[1:], strict=False):
        label = stats.names[some[0]] if len(some) == 1 else f"{first + 1:,} to {last:,}"
        most, least = f"{counts[some[0]]:,}", f"{counts[some[-1]]:,}"
        between = most if most == least else f"{most} to {least}"
        rows.append((label, between, float(counts[some].mean())))
    used = min(LABEL_WIDTH, max(len(label) for label, _, _ in rows)) + max(len(between) for _, between, _ in rows) + 3
    for label, between, mean in rows:
        bar = _bar(mean / counts.max(), max(10, console.width - used), console.options.ascii_only)
        grid.add_row(Text(label), Text(between), Text(bar, style=COLOURS[shots.group(mean)]))
    return grid


def _bar(share: float, width: int, ascii_only: bool) -> str:
    """Returns a bar of at least one mark, in eighths of a character where the terminal has them."""
    if ascii_only:
        return "#" * max(1, round(share * width))
    eighths = max(1, round(share * width * 8))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
