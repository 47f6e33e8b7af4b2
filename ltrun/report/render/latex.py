"""LaTeX rendering of tables (booktabs)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from ltrun.report.render.common import RUNS, body, number, plain
from ltrun.report.table import DASH, Cell, Mark, Row, Table

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "]": "{]}", "·": r"$\cdot$", "†": r"$^\dagger$", "τ": r"$\tau$", "±": r"$\pm$", DASH: "--",
}  # fmt: skip


MARKS: Mapping[Mark, str] = {"best": r"\mathbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
UNDERLINED = "underlined: the second best, where the best is bold"
Papers = Mapping[str, Iterable[str]]
PAGE = 50  # most rows of a float; more do not fit on a page


def latex(tables: Sequence[Table], papers: Papers | None = None) -> str:
    r"""Returns a `table` for each, with booktabs; a mean is `$38.3 \pm 0.4$`, the best of a column bold, and the second
    underlined beside it. papers: method -> the citation keys behind its name.

    Tables of more than PAGE rows are a `longtable`, which breaks across pages.
    """
    long = any(len(table.rows) > PAGE for table in tables)
    parts = [r"% needs \usepackage{booktabs}" + (r" and \usepackage{longtable}" if long else "")]
    for table, label in zip(tables, _labels(tables), strict=True):
        parts += (_over_pages if len(table.rows) > PAGE else _float)(table, label, papers or {})
    return "\n".join(parts) + "\n"


def _float(table: Table, label: str, papers: Papers) -> list[str]:
    top, lines, notes = _lines(table, papers)
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


def _over_pages(table: Table, label: str, papers: Papers) -> list[str]:
    top, lines, notes = _lines(table, papers)
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
    return "l" * len(table.heads) + "r" * (len(table.columns) + 1 + len(table.beside))


def _lines(table: Table, papers: Papers) -> tuple[list[str], list[str], list[str]]:
    """Returns the head between rules, the rows and the notes."""

    def cell(cell: Cell, row: Row, mark: Mark) -> str:
        shown = number(cell, row, r" \pm ", MARKS[mark], dash="--")
        return shown if cell.mean is None else f"${shown}$"

    heads = [*(_latex(plain(head)) for head in (*table.heads, *table.columns)), f"${RUNS}$", *map(_latex, table.beside)]
    rows = body(table, _latex, cell)
    for line, row in zip(rows, table.rows, strict=True):
        line[0] += _cite(row, papers)
    head, *lines = [f"    {' & '.join(line)} \\\\" for line in (heads, *rows)]
    said = [UNDERLINED] if any(table.marks(column) for column in range(len(table.columns))) else []
    notes = [f"  \\par\\footnotesize {_latex(plain(note))}" for note in (*table.notes, *said)]
    return [r"    \toprule", head, r"    \midrule"], lines, notes


def _cite(row: Row, papers: Papers) -> str:
    """Returns the citation of a row's method; empty for a row of several methods."""
    methods = {record.method for record, _ in row.runs}
    keys = list(papers.get(methods.pop(), ())) if len(methods) == 1 else []
    return f"~\\cite{{{','.join(keys)}}}" if keys else ""


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
