"""Style of all figures: colours, dashes, markers, fonts and names."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from matplotlib import font_manager
from matplotlib.figure import Figure  # not pyplot, which would look for a screen
from matplotlib.style import context

from ltrun.metrics import TASKS, Shots
from ltrun.report.configurations import PREDICTOR
from ltrun.report.measure import Measure
from ltrun.report.render.common import plain
from ltrun.report.table import SAW_TEST, Row, Table
from ltrun.results.record import EXPERT

INK, MUTED, FAINT = "0.15", "0.45", "0.87"
BASELINE = "erm"
WIDTH = 7.0  # inches, of a page with margins
CHARACTER = 0.062  # inches, the width of a character in the small font
LINE = 0.15  # inches, the height of a line
FOLD = 34  # characters of a name in one line
FOREIGN = (  # fonts with East Asian characters; the first that is installed is the fallback
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
    "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "SimHei", "Arial Unicode MS",
)  # fmt: skip
STYLE = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7.5, "figure.titlesize": 9, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.labelcolor": INK, "text.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 200, "figure.dpi": 200,
    "pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "ltrun",
}  # fmt: skip  # TrueType fonts in PDF, as publishers ask; a fixed salt, so that equal figures have equal bytes


class Look(NamedTuple):
    """The look of a line. Six colours suit the colour-blind (Okabe and Ito, 2008); dashes and markers differ in grey."""

    colour: str
    dash: Any
    marker: str


LOOKS = (
    Look("#0072B2", "-", "o"), Look("#D55E00", (0, (5, 1.5)), "s"), Look("#009E73", (0, (1, 1)), "^"),
    Look("#CC79A7", (0, (5, 1.5, 1, 1.5)), "D"), Look("#000000", (0, (8, 2)), "v"),
    Look("#E69F00", (0, (3, 1, 1, 1, 1, 1)), "P"),
)  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Sets matplotlib's defaults and `STYLE`, whatever the user's matplotlibrc says."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    helping = [name for name in FOREIGN if name in installed][:1]
    with context(["default", STYLE | {"font.family": ["DejaVu Sans", *helping]}]):
        yield


def figure_of(table: Table, width: float, height: float) -> Figure:
    """Returns an empty figure of that many inches, with the table's title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(literal(table.heading), x=0.01, horizontalalignment="left", fontweight="bold")
    return figure


def headlines(table: Table) -> list[Row]:
    """Returns the rows of the methods' headline predictors, or all rows if there are none; others would double the lines.

    Leaves out runs that were not evaluated on the table's split, which a table of costs may have.
    """
    rows = _evaluated(table)
    standing = [row for row in rows if row.keys.get(PREDICTOR, row.runs[0][1]) == row.runs[0][0].headline]
    return standing or rows


def beside_experts(table: Table) -> list[Row]:
    """Returns the rows of single experts, beneath the headline row of their ensemble; none if the table has no experts."""
    rows = _evaluated(table)
    owners = {id(record) for row in rows for record, name in row.runs if name.startswith(EXPERT)}
    return [
        row
        for row in rows
        if any(id(record) in owners and (name == record.headline or name.startswith(EXPERT)) for record, name in row.runs)
    ]


def _evaluated(table: Table) -> list[Row]:
    """Returns the rows with the runs that were evaluated on the table's split."""
    rows = []
    for row in table.rows:
        if runs := tuple((record, name) for record, name in row.runs if table.split in record.predictors[name]["splits"]):
            rows.append(replace(row, runs=runs))
    return rows


def baseline(rows: Sequence[Row]) -> int | None:
    """Returns the index of the row of plain training, if exactly one of several rows is plain training."""
    found = [i for i, row in enumerate(rows) if {record.method for record, _ in row.runs} == {BASELINE}]
    return found[0] if len(found) == 1 and len(rows) > 1 else None


def names_of(table: Table, rows: Sequence[Row]) -> list[str]:
    """Returns the name of each row and the values of its further columns, folded to fit beside a figure."""
    told = []
    for row in rows:
        words = [f"{head}={name}" for head, name in zip(table.heads[1:], row.names[1:], strict=True)]
        told.append(textwrap.fill(literal(", ".join([row.names[0], *words])), FOLD))
    return told


def first_metric(rows: Sequence[Row]) -> Measure:
    """Returns the first metric of the rows' task, with its shot groups, whichever metric the table shows."""
    return Measure.of(TASKS[rows[0].runs[0][0].task][0])


def scale(rows: Sequence[Row], split: str, of_class: bool = False) -> str:
    """Returns the label of an axis: `Top-1 accuracy on test (%)`. of_class: whether it shows values of single classes."""
    first = first_metric(rows)
    title = first.metrics[0].of_class or first.title if of_class else first.title
    return f"{title} on {literal(split)}" + (" (%)" if first.percent else "")


def shots_of(rows: Sequence[Row]) -> Shots | None:
    """Returns the limits of the shot groups, if all runs share them, else None."""
    limits = {Shots.of(record.config) for row in rows for record, _ in row.runs}
    return limits.pop() if len(limits) == 1 else None


def spread(rows: Sequence[Row]) -> str:
    """Returns the meaning of bands and whiskers; empty if every row has one run."""
    counts = {row.n for row in rows}
    if counts == {1}:
        return ""
    return "mean ± standard deviation of " + (f"{counts.pop()} runs" if len(counts) == 1 else "the runs")


def dagger(rows: Sequence[Row]) -> str:
    return SAW_TEST if any(row.saw_test for row in rows) else ""


def folded(parts: Sequence[str]) -> str:
    """Joins the remarks below a figure, folded to the width of a page."""
    return textwrap.fill("; ".join(filter(None, parts)), int(1.15 * WIDTH / CHARACTER))


def literal(text: str) -> str:
    """Escapes dollars, which would begin a formula."""
    return plain(text).replace("$", r"\$")
