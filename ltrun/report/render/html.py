"""HTML rendering of tables, as one page."""

from __future__ import annotations

import html as hypertext
from collections.abc import Sequence

from ltrun.report.render.common import RUNS, body, number, plain
from ltrun.report.table import Cell, Row, Table

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
    "th,td{padding:.2rem .8rem;text-align:right}thead{border-bottom:1px solid}.name{text-align:left}p{color:#555}"
)


def html(tables: Sequence[Table]) -> str:
    """Returns a self-contained page; the best mean of a column is bold."""

    def name(text: str) -> str:
        return f'<td class="name">{hypertext.escape(text)}</td>'

    def cell(cell: Cell, row: Row, best: bool) -> str:
        return f"<td>{number(cell, row, mean='<b>{}</b>' if best else '{}')}</td>"

    parts = []
    for table in tables:
        heads = [f'<th class="name">{hypertext.escape(plain(head))}</th>' for head in table.heads]
        heads += [f"<th>{hypertext.escape(plain(column))}</th>" for column in (*table.columns, RUNS)]
        rows = [f"<tr>{''.join(row[:-1])}<td>{row[-1]}</td></tr>" for row in body(table, name, cell)]
        parts += [
            f"<h2>{hypertext.escape(plain(table.heading))}</h2>",
            f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>",
            *rows,
            "</tbody></table>",
            *(f"<p>{hypertext.escape(plain(line))}</p>" for line in (table.caption, *table.notes)),
        ]
    title = hypertext.escape(plain(tables[0].measure.title))
    head = f'<meta charset="utf-8"><title>ltrun report: {title}</title><style>{STYLE}</style>'
    return "\n".join(["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', *parts, "</body></html>"]) + "\n"
