"""Rendering of tables as text: terminal, Markdown, LaTeX (booktabs), CSV and JSON. Escapes names from foreign files."""

from collections.abc import Callable, Sequence

from ltrun.report.render.csv import comma_separated
from ltrun.report.render.json import as_json
from ltrun.report.render.latex import latex
from ltrun.report.render.markdown import markdown
from ltrun.report.render.terminal import terminal
from ltrun.report.table import Table

FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
    "json": as_json,
}

__all__ = ["FORMATS", "terminal"]
