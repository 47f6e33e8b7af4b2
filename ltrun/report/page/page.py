"""The HTML file of the page: the template with style, scripts and data inside."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from ltrun import __version__
from ltrun.report.page.contents import Asked, Found, contents
from ltrun.report.render.common import plain

SCRIPTS = ("dom.js", "difference.js", "plots.js", "figures.js", "tables.js", "panel.js", "start.js")
PLACE = re.compile(r"\{\{(\w+)\}\}")


def page(found: Found, asked: Asked, seconds: int | None = None) -> str:
    """Returns the page of these runs. seconds: after which the page loads itself anew, None for a page that stays.

    Raises ConfigError for an unknown metric, split or key.
    """
    whole, details = contents(found, asked)
    whole |= {"made": datetime.now(UTC).isoformat(timespec="seconds"), "version": __version__, "reload": seconds}
    names = ", ".join(table["heading"] for table in whole["tables"][:3])
    parts = {
        "title": html.escape(plain(f"ltrun report: {names}")),
        "style": _file("page.css"),
        "script": "\n".join(map(_file, SCRIPTS)),
        "data": "\n".join(_data(whole, details)),
    }
    return PLACE.sub(lambda match: parts[match[1]], _file("page.html"))


def _data(whole: Mapping[str, Any], details: Mapping[str, Any]) -> Iterator[str]:
    """Yields a script element with the tables, and one for each row, which the page reads when the row is opened."""
    for name, content in {"data": whole, **details}.items():
        yield f'<script type="application/json" id="{name}">{as_script(content)}</script>'


def as_script(content: Any) -> str:
    """Returns JSON that cannot end the script element around it, nor begin a comment."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
