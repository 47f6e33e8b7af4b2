"""Tables as text: for the terminal, Markdown, LaTeX (booktabs), CSV and HTML. Every name is escaped, as it may be anyone's."""

from __future__ import annotations

import csv
import html as hypertext
import io
import re
from collections.abc import Callable, Sequence

from ltrun.report.tables import DASH, METRICS, Cell, Row, Table

RUNS = "n"
NAME = 16  # characters that a name has at least on a terminal, before it is folded


def plain(text: str) -> str:
    """Without line breaks and terminal control sequences, which a name in a foreign file may hold."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def number(cell: Cell, row: Row, plus_minus: str = " ± ", mean: str = "{}", dash: str = DASH) -> str:
    """`38.3 ± 0.4`; `38.3` for one run; a dash for an empty group; `38.3 (n=2)` where fewer runs than the row's have it."""
    if cell.mean is None:
        return dash
    shown = mean.format(cell.text(cell.mean)) + ("" if cell.std is None else f"{plus_minus}{cell.text(cell.std)}")
    return shown if cell.n == row.n else f"{shown} (n={cell.n})"


def _body(table: Table, name: Callable[[str], str], cell: Callable[[Cell, Row, bool], str]) -> list[list[str]]:
    """The cells of every row as text, given how names and numbers are written."""
    best = [table.best(column) for column in range(len(table.columns))]
    return [
        [*(name(plain(n)) for n in row.names), *(cell(c, row, i in best[k]) for k, c in enumerate(row.cells)), str(row.n)]
        for i, row in enumerate(table.rows)
    ]


# ------------------------------------------------------------------------------------------------------------ terminal


def terminal(tables: Sequence[Table]) -> None:
    """Prints to standard output; the best mean of a column is bold."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=400)  # a file has no edge to wrap at
    for table in tables:
        shown = RichTable(title=Text(plain(table.title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        numbers = [[number(cell, row) for cell in row.cells] + [str(row.n)] for row in table.rows]
        for head in table.heads:
            shown.add_column(Text(plain(head)), overflow="fold", min_width=NAME)
        for column, texts in zip((*table.columns, RUNS), zip(*numbers, strict=True), strict=True):
            shown.add_column(column, justify="right", no_wrap=True, min_width=max(map(len, texts)))
        best = [table.best(column) for column in range(len(table.columns))]
        for i, (row, shown_numbers) in enumerate(zip(table.rows, numbers, strict=True)):
            styles = ["bold" if i in top else "" for top in best] + [""]
            shown.add_row(*(Text(plain(name)) for name in row.names), *map(Text, shown_numbers, styles))
        least = Measurement.get(console, console.options.update(max_width=10**4), shown).minimum
        screen, console.width = console.width, max(console.width, least)  # nothing is cut off, on however narrow a screen
        console.print(shown, crop=False)
        console.width = screen
        for line in (table.caption, *table.notes):
            console.print(Text(plain(line), style="dim"))
        console.print()


# ------------------------------------------------------------------------------------------------------------ Markdown


def markdown(tables: Sequence[Table]) -> str:
    """GitHub's tables; the best mean of a column is bold."""

    def cell(cell: Cell, row: Row, best: bool) -> str:
        return number(cell, row, mean="**{}**" if best else "{}")

    parts = []
    for table in tables:
        heads = [*(_markdown(plain(head)) for head in table.heads), *table.columns, RUNS]
        rules = [":--"] * len(table.heads) + ["--:"] * (len(table.columns) + 1)
        lines = [f"| {' | '.join(line)} |" for line in (heads, rules, *_body(table, _markdown, cell))]
        texts = [_markdown(plain(line)) for line in (table.caption, *table.notes)]
        parts.append("\n\n".join([f"### {_markdown(plain(table.title))}", "\n".join(lines), *texts]))
    return "\n\n".join(parts) + "\n"


def _markdown(text: str) -> str:
    """Escapes what means something; an underscore inside a word means nothing and stays readable."""
    text = re.sub(r"([\\`*|~#$])", r"\\\1", text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --------------------------------------------------------------------------------------------------------------- LaTeX

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "]": "{]}", "·": r"$\cdot$", "†": r"$^\dagger$", "±": r"$\pm$", DASH: "--",
}  # fmt: skip


def latex(tables: Sequence[Table]) -> str:
    r"""One `table` each, with booktabs; a mean is `$38.3 \pm 0.4$`, the best of a column bold."""

    def cell(cell: Cell, row: Row, best: bool) -> str:
        shown = number(cell, row, r" \pm ", r"\mathbf{{{}}}" if best else "{}", dash="--")
        return shown if cell.mean is None else f"${shown}$"

    parts = [r"% needs \usepackage{booktabs}"]
    for table in tables:
        heads = [*(_latex(plain(head)) for head in table.heads), *table.columns, f"${RUNS}$"]
        lines = [f"    {' & '.join(line)} \\\\" for line in (heads, *_body(table, _latex, cell))]
        parts += [
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{_latex(plain(f'{table.title}. {table.caption}'))}}}",
            f"  \\begin{{tabular}}{{{'l' * len(table.heads)}{'r' * (len(table.columns) + 1)}}}",
            r"    \toprule",
            lines[0],
            r"    \midrule",
            *lines[1:],
            r"    \bottomrule",
            r"  \end{tabular}",
            *(f"  \\par\\footnotesize {_latex(plain(note))}" for note in table.notes),
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


def _latex(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in text)


# ----------------------------------------------------------------------------------------------------------------- CSV


def comma_separated(tables: Sequence[Table]) -> str:
    """One line a number: what it is, mean and standard deviation (percent, unrounded; empty where there is none), n."""
    keys = list(dict.fromkeys(key for table in tables for row in table.rows for key in row.keys))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", *keys, "saw_test_inputs", "split", "metric", "group", "mean", "std", "n"])
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                where = [plain(table.title), *(plain(row.keys.get(key, "")) for key in keys), str(row.saw_test).lower()]
                what = [plain(table.split), table.metric, column.lower()]
                writer.writerow([*where, *what, cell.mean, cell.std, cell.n])
    return out.getvalue()


# ---------------------------------------------------------------------------------------------------------------- HTML

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
    "th,td{padding:.2rem .8rem;text-align:right}thead{border-bottom:1px solid}.name{text-align:left}p{color:#555}"
)


def html(tables: Sequence[Table]) -> str:
    """One page that fetches nothing; the best mean of a column is bold."""

    def name(text: str) -> str:
        return f'<td class="name">{hypertext.escape(text)}</td>'

    def cell(cell: Cell, row: Row, best: bool) -> str:
        return f"<td>{number(cell, row, mean='<b>{}</b>' if best else '{}')}</td>"

    parts = []
    for table in tables:
        heads = [f'<th class="name">{hypertext.escape(plain(head))}</th>' for head in table.heads]
        heads += [f"<th>{column}</th>" for column in (*table.columns, RUNS)]
        rows = [f"<tr>{''.join(row[:-1])}<td>{row[-1]}</td></tr>" for row in _body(table, name, cell)]
        parts += [
            f"<h2>{hypertext.escape(plain(table.title))}</h2>",
            f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>",
            *rows,
            "</tbody></table>",
            *(f"<p>{hypertext.escape(plain(line))}</p>" for line in (table.caption, *table.notes)),
        ]
    head = f'<meta charset="utf-8"><title>ltrun report: {METRICS[tables[0].metric].title}</title><style>{STYLE}</style>'
    return "\n".join(["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', *parts, "</body></html>"]) + "\n"


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
    "html": html,
}
