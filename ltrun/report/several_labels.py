"""Markdown tables of published results with several labels per image: VOC-LT, COCO-LT and VideoLT."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from ltrun.report.render.markdown import escaped
from ltrun.report.table import DASH

NUMBERS = "several_labels.json"


def published() -> Mapping[str, Any]:
    """Returns the published numbers: sources, and for images and videos columns, rows and digits behind the point.

    A row is a method, its preset or None, its source, and for each column mAP in percent: of all classes, head, medium, tail;
    of all classes alone; or nothing.
    """
    content: Mapping[str, Any] = json.loads(resources.files("ltrun.report").joinpath(NUMBERS).read_text(encoding="utf-8"))
    return content


def published_table(kind: str) -> str:
    """Returns the table of 'images' or 'videos'."""
    content = published()
    table, sources = content[kind], content["sources"]
    heads = ["Method", *table["columns"], "Source"]
    rows = [
        [_method(name, preset), *(_cell(each, table["digits"]) for each in numbers), sources[source]]
        for name, preset, source, *numbers in table["rows"]
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, [":--"] * len(heads), *rows))


def _method(name: str, preset: str | None) -> str:
    return escaped(name) if preset is None else f"{escaped(name)}<br>`method={preset}`"


def _cell(numbers: Sequence[float], digits: int) -> str:
    if not numbers:
        return DASH
    total, *groups = (f"{number:.{digits}f}" for number in numbers)
    return f"{total}<br>{' / '.join(groups)}" if groups else total
