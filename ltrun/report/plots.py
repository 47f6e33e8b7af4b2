"""Figures of the tables as files: PDF, SVG or PNG, with the same bytes for the same runs; needs matplotlib (`ltrun[plots]`)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ltrun.errors import ConfigError
from ltrun.report.table import Table
from ltrun.results.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ltrun.report.confusion import Confusion

FORMATS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}  # and metadata that would differ
OTHERS = ("jpg", "jpeg", "eps", "ps", "gif", "tif", "tiff", "webp")  # endings of images that no figure is written as


class Place(NamedTuple):
    """Where figures go. stem: how their names begin, if a file was named."""

    folder: Path
    stem: str
    formats: tuple[str, ...]


def place_of(asked: Path, formats: Sequence[str], flag: str = "--plots") -> Place:
    """`figures` and `--format pdf` are a folder; `figures/x.pdf` are files `x-...` of that format. Raises ConfigError."""
    ending = asked.suffix.lower().removeprefix(".")
    if asked.is_dir():
        return Place(asked, "", tuple(formats) or ("png",))
    if ending in OTHERS:
        raise ConfigError(f"{flag} {asked}: figures are written as {', '.join(FORMATS)}; name a folder, or such a file")
    if ending not in FORMATS:
        if asked.exists():
            raise ConfigError(f"{flag} {asked} is a file; name a folder, or a file that ends in .{', .'.join(FORMATS)}")
        return Place(asked, "", tuple(formats) or ("png",))
    if formats and list(formats) != [ending]:
        raise ConfigError(f"{flag} {asked} names a {ending} and --format {','.join(formats)}: leave one of them out")
    return Place(asked.parent, asked.stem, (ending,))


def plot(tables: Sequence[Table], place: Place) -> list[str]:
    """Writes a figure of each class against its rank and one of the shot groups, for each table; returns what there is to say.

    Both show the first metric of the task, whichever the table shows. Raises ConfigError without matplotlib.
    """
    _need_matplotlib("--plots")
    from ltrun.report.figures import classes, groups
    from ltrun.report.figures.style import headlines

    said = []
    for i, table in enumerate(tables):
        if not headlines(table):
            continue
        drawn = {"classes": partial(classes, table), "groups": partial(groups, table)}
        if len({tuple(record.classes["counts"]) for row in table.rows for record, _ in row.runs}) > 1:
            del drawn["classes"]  # rows are averaged over data sets
        said += _write(drawn, place, _stem(place, i, table.title, len(tables)))
    return said


def plot_confusion(found: Sequence[Confusion], place: Place) -> list[str]:
    """Writes the heat map and the matrix of each confusion; returns what there is to say.

    Raises ConfigError without matplotlib.
    """
    _need_matplotlib("--confusion")
    from ltrun.report.figures import heat_map
    from ltrun.report.render.csv import matrix

    said = []
    for i, confusion in enumerate(found):
        stem = _stem(place, i, confusion.title, len(found))
        said += _write({"confusion": partial(heat_map, confusion)}, place, stem)
        write_atomically(place.folder / f"{stem}-confusion.csv", matrix(confusion).encode())
        said.append(f"{place.folder / f'{stem}-confusion.csv'} written")
    return said


def _need_matplotlib(flag: str) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{flag} needs matplotlib: install it with pip install 'ltrun[plots]'") from error


def _stem(place: Place, index: int, title: str, count: int) -> str:
    """How the names of a figure's files begin. count: of the titles."""
    name = f"{index + 1}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', title).strip('_')[:80]}"
    return "-".join(filter(None, (place.stem, name if count > 1 or not place.stem else "")))


def _write(drawn: Mapping[str, Callable[[], Figure]], place: Place, stem: str) -> list[str]:
    """Writes figures by their kinds, in every format of the place; returns what there is to say."""
    from ltrun.report.figures.style import styled

    said = []
    with styled(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for kind, draw in drawn.items():
            figure = draw()
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
