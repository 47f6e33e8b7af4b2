"""Markdown rendering of tables, as GitHub reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ltrun.report.render.common import RUNS, body, number, plain
from ltrun.report.table import Cell, Mark, Row, Table


def markdown(tables: Sequence[Table]) -> str:
    """Returns GitHub's tables; the best mean of a column is bold."""

    def cell(cell: Cell, row: Row, mark: Mark) -> str:
        return number(cell, row, mean="**{}**" if mark == "best" else "{}")

    parts = []
    for table in tables:
        heads = [escaped(plain(head)) for head in (*table.heads, *table.columns, RUNS, *table.beside)]
        rules = [":--"] * len(table.heads) + ["--:"] * (len(table.columns) + 1 + len(table.beside))
        lines = [f"| {' | '.join(line)} |" for line in (heads, rules, *body(table, escaped, cell))]
        texts = [escaped(plain(line)) for line in (table.caption, *table.notes)]
        parts.append("\n\n".join([f"### {escaped(plain(table.heading))}", "\n".join(lines), *texts]))
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Escapes Markdown's characters, but not an underscore inside a word, which is plain text and stays readable."""
    text = re.sub(r"([\\`*|~#$])", r"\\\1", text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
