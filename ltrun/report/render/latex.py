"""LaTeX rendering of tables (booktabs)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from ltrun.report.render.common import RUNS, body, number, plain
from ltrun.report.table import DASH, Cell, Row, Table

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "]": "{]}", "·": r"$\cdot$", "†": r"$^\dagger$", "τ": r"$\tau$", "±": r"$\pm$", DASH: "--",
}  # fmt: skip


PAGE = 50  # most rows of a float; more do not fit on a page


def latex(tables: Sequence[Table]) -> str:
    r"""Returns a `table` for each, with booktabs; a mean is `$38.3 \pm 0.4$`, the best of a column bold.

    Tables of more than PAGE rows are a `longtable`, which breaks across pages.
    """
    long = any(len(table.rows) > PAGE for table in tables)
    parts = [r"% needs \usepackage{booktabs}" + (r" and \usepackage{longtable}" if long else "")]
    for table, label in zip(tables, _labels(tables), strict=True):
        parts += _over_pages(table, label) if len(table.rows) > PAGE else _float(table, label)
    return "\n".join(parts) + "\n"


def _float(table: Table, label: str) -> list[str]:
    top, lines, notes = _lines(table)
    return [
        r"\begin{table}",
        r"  \centering",
        f"  {_caption(table)}",
        f"  \\label{{{label}}}",
        f"  \\begin{{tabular}}{{{_columns(table)}}}",
        *top,
        *lines,
        r"    \bottomrule",
        r"  \end{tabular}",
        *notes,
        r"\end{table}",
    ]


def _over_pages(table: Table, label: str) -> list[str]:
    top, lines, notes = _lines(table)
    return [
        f"\\begin{{longtable}}{{{_columns(table)}}}",
        f"  {_caption(table)}",
        f"  \\label{{{label}}} \\\\",
        *top,
        r"    \endfirsthead",
        *top,
        r"    \endhead",
        *lines,
        r"    \bottomrule",
        r"\end{longtable}",
        *(["{", *notes, r"  \par", "}"] if notes else []),
    ]


def _caption(table: Table) -> str:
    return f"\\caption{{{_latex(plain(f'{table.heading}. {table.caption}'))}}}"


def _columns(table: Table) -> str:
    return "l" * len(table.heads) + "r" * (len(table.columns) + 1)


def _lines(table: Table) -> tuple[list[str], list[str], list[str]]:
    """Returns the head between rules, the rows and the notes."""

    def cell(cell: Cell, row: Row, best: bool) -> str:
        shown = number(cell, row, r" \pm ", r"\mathbf{{{}}}" if best else "{}", dash="--")
        return shown if cell.mean is None else f"${shown}$"

    heads = [*(_latex(plain(head)) for head in (*table.heads, *table.columns)), f"${RUNS}$"]
    head, *lines = [f"    {' & '.join(line)} \\\\" for line in (heads, *body(table, _latex, cell))]
    notes = [f"  \\par\\footnotesize {_latex(plain(note))}" for note in table.notes]
    return [r"    \toprule", head, r"    \midrule"], lines, notes


def _labels(tables: Sequence[Table]) -> list[str]:
    """Returns `tab:cifar100-lt-imbalance-50-accuracy` for \\ref; a label that another table has gets a number."""
    found: list[str] = []
    for table in tables:
        words = f"{table.title} {table.measure.name}" + ("" if table.split == "test" else f" {table.split}")
        stem = "tab:" + re.sub("[^A-Za-z0-9]+", "-", words).strip("-")
        numbered = (f"{stem}-{i}" for i in count(2))
        found.append(stem if stem not in found else next(label for label in numbered if label not in found))
    return found


def _latex(text: str) -> str:
    """Escapes LaTeX's characters, and hyphens in a row, which would become a dash."""
    return "".join("{-}" if c == "-" and text[i - 1 : i] == "-" else LATEX.get(c, c) for i, c in enumerate(text))
