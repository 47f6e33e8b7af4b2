"""Figures of the tables as files: PDF, SVG or PNG, with the same bytes for the same runs; needs matplotlib (`ltrun[plots]`)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ltrun.errors import ConfigError
from ltrun.report.table import Table
from ltrun.results.atomic import write_atomically

FORMATS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}  # and metadata that would differ
OTHERS = ("jpg", "jpeg", "eps", "ps", "gif", "tif", "tiff", "webp")  # endings of images that no figure is written as


class Place(NamedTuple):
    """Where figures go. stem: how their names begin, if a file was named."""

    folder: Path
    stem: str
    formats: tuple[str, ...]


def place_of(asked: Path, formats: Sequence[str]) -> Place:
    """`figures` and `--format pdf` are a folder; `figures/x.pdf` are files `x-...` of that format. Raises ConfigError."""
    ending = asked.suffix.lower().removeprefix(".")
    if asked.is_dir():
        return Place(asked, "", tuple(formats) or ("png",))
    if ending in OTHERS:
        raise ConfigError(f"--plots {asked}: figures are written as {', '.join(FORMATS)}; name a folder, or such a file")
    if ending not in FORMATS:
        if asked.exists():
            raise ConfigError(f"--plots {asked} is a file; name a folder, or a file that ends in .{', .'.join(FORMATS)}")
        return Place(asked, "", tuple(formats) or ("png",))
    if formats and list(formats) != [ending]:
        raise ConfigError(f"--plots {asked} names a {ending} and --format {','.join(formats)}: leave one of them out")
    return Place(asked.parent, asked.stem, (ending,))


def plot(tables: Sequence[Table], place: Place) -> list[str]:
    """Writes a figure of each class against its rank and one of the shot groups, for each table; returns what there is to say.

    Both show the first metric of the task, whichever the table shows. Raises ConfigError without matplotlib.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("--plots needs matplotlib: install it with pip install 'ltrun[plots]'") from error
    from ltrun.report.figures import classes, groups
    from ltrun.report.figures.style import headlines, styled

    said = []
    for i, table in enumerate(tables):
        if not headlines(table):
            continue
        drawn = {"classes": classes, "groups": groups}
        if len({tuple(record.classes["counts"]) for row in table.rows for record, _ in row.runs}) > 1:
            del drawn["classes"]  # rows are averaged over data sets
        name = f"{i + 1}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', table.title).strip('_')[:80]}"
        stem = "-".join(filter(None, (place.stem, name if len(tables) > 1 or not place.stem else "")))
        with styled(), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for kind, draw in drawn.items():
                figure = draw(table)
                for ending in place.formats:
                    data = io.BytesIO()
                    figure.savefig(data, format=ending, metadata=FORMATS[ending])
                    file = place.folder / f"{stem}-{kind}.{ending}"
                    write_atomically(file, data.getvalue())
                    said.append(f"{file} written")
        lacking = {chr(int(match[1])) for each in told if (match := re.match(r"Glyph (\d+)", str(each.message)))}
        if lacking:
            letters = " ".join(sorted(lacking)[:20])
            said.append(f"no font that matplotlib finds has {letters}, so figures show boxes: install one, as Noto Sans CJK")
    return said
