"""The two figures of every long-tailed paper, as PNG files; needs matplotlib, which `ltrun[plots]` brings."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun.errors import ConfigError
from ltrun.files import write_atomically
from ltrun.report.render import plain
from ltrun.report.tables import GROUPS, PREDICTOR, Cell, Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")  # Okabe and Ito, 2008
DASHES = {"-": "", "--": "//", ":": "..", "-.": "xx"}  # for lines, and the hatching of bars, once the colours are used up

COLUMNS = 3  # of the legend


def plot(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Writes, for each table, the accuracy of each class against its rank and the shot groups as bars. Returns the files."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError("--plots needs matplotlib: install it with pip install 'ltrun[plots]'") from error
    written = []
    for i, table in enumerate(tables):
        stem = f"{i + 1}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', table.title).strip('_')[:80]}"
        for name, figure in {"classes": _classes(table), "groups": _groups(table)}.items():
            data = io.BytesIO()
            figure.savefig(data, format="png", dpi=160)
            written.append(folder / f"{stem}-{name}.png")
            write_atomically(written[-1], data.getvalue())
    return written


def _classes(table: Table) -> Figure:
    """Accuracy over classes from the most frequent to the rarest, smoothed over a tenth of them, above their sizes."""
    rows = _headlines(table)
    figure = _figure(len(rows))
    axes = figure.subplots()
    sizes = axes.twinx()
    width = len(rows[0].runs[0][0].classes["counts"]) // 10 | 1  # odd, so that a class is in the middle of its neighbours
    for row, (dash, colour) in zip(rows, _styles(), strict=False):
        counts, accuracy = _ranked(row, table.split)
        smooth = [_mean(accuracy[max(0, i - width // 2) : i + width // 2 + 1]) for i in range(len(accuracy))]
        points = [float("nan") if value is None else value for value in smooth]  # a gap where a class has no test images
        axes.plot(points, dash, color=colour, label=_name(row), linewidth=1.5)
        if row is rows[0]:
            sizes.fill_between(range(len(counts)), counts, color="0.9", step="mid")
    smoothed = f", mean of {width} classes" if width > 1 else ""
    axes.set(xlabel="classes, most frequent first", ylabel=f"accuracy on {table.split} (%){smoothed}")
    axes.set(title=_literal(table.title), ylim=(0, None))
    sizes.set(ylabel="training images (grey)", yscale="log")
    axes.set_zorder(sizes.get_zorder() + 1)
    axes.patch.set_visible(False)
    figure.legend(loc="outside lower center", ncols=COLUMNS, frameon=False, fontsize="small")
    return figure


def _groups(table: Table) -> Figure:
    """A bar for each row in each shot group; whiskers are one standard deviation over the runs."""
    rows = _headlines(table)
    figure = _figure(len(rows))
    axes = figure.subplots()
    for i, (row, (dash, colour)) in enumerate(zip(rows, _styles(), strict=False)):
        cells = [_cell(row, table.split, key) for key in ("accuracy", *GROUPS.values())]
        places = [k + 0.8 * (i + 0.5) / len(rows) - 0.4 for k, cell in enumerate(cells) if cell.n]
        means = [cell.mean for cell in cells if cell.mean is not None]
        spread = [cell.std or 0.0 for cell in cells if cell.n]
        axes.bar(places, means, 0.8 / len(rows), yerr=spread, color=colour, hatch=DASHES[dash], label=_name(row))
    axes.set_xticks(range(1 + len(GROUPS)), ["All", *GROUPS])
    axes.set(ylabel=f"accuracy on {table.split} (%)", title=_literal(table.title))
    figure.legend(loc="outside lower center", ncols=COLUMNS, frameon=False, fontsize="small")
    return figure


def _name(row: Row) -> str:
    return _literal(", ".join(row.names))


def _literal(text: str) -> str:
    """Dollars would begin a formula."""
    return plain(text).replace("$", r"\$")


def _figure(rows: int) -> Figure:
    """As high as its legend needs, which would cover the lines of a sweep over all methods."""
    from matplotlib.figure import Figure  # not pyplot, which would look for a screen

    return Figure(figsize=(7, 4 + 0.19 * -(-rows // COLUMNS)), layout="constrained")


def _headlines(table: Table) -> list[Row]:
    """Rows of the predictors that stand for their methods, if any; further ones would double the lines."""
    standing = [row for row in table.rows if row.keys.get(PREDICTOR, row.runs[0][1]) == row.runs[0][0].headline]
    return standing or list(table.rows)


def _styles() -> cycle[tuple[str, str]]:
    return cycle(product(DASHES, PALETTE))


def _ranked(row: Row, split: str) -> tuple[list[int], list[float | None]]:
    """(training images, accuracy in percent averaged over the runs) of each class, most frequent first."""
    counts = row.runs[0][0].classes["counts"]
    each = [record.predictors[name]["splits"][split]["per_class"] for record, name in row.runs]
    accuracy = [_mean([100 * value for value in values if value is not None]) for values in zip(*each, strict=False)]
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    return [counts[i] for i in order], [accuracy[i] for i in order]


def _mean(values: Sequence[float | None]) -> float | None:
    return Cell(tuple(value for value in values if value is not None)).mean


def _cell(row: Row, split: str, key: str) -> Cell:
    values = (record.predictors[name]["splits"][split][key] for record, name in row.runs)
    return Cell(tuple(100 * value for value in values if value is not None))
