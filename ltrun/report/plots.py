"""Figure files of tables: PDF, SVG or PNG, with equal bytes for equal runs. Needs matplotlib (`ltrun[plots]`)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ltrun.errors import ConfigError
from ltrun.report.table import Table
from ltrun.results.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ltrun.report.confusion import Confusion
    from ltrun.report.ranking import Ranking

FORMATS = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}  # metadata that differ by the run
OTHERS = ("jpg", "jpeg", "eps", "ps", "gif", "tif", "tiff", "webp")  # endings of image formats that are refused


class Place(NamedTuple):
    """The folder of figures. stem: the beginning of their names, if the user named a file, else empty."""

    folder: Path
    stem: str
    formats: tuple[str, ...]


def place_of(asked: Path, formats: Sequence[str], flag: str = "--plots") -> Place:
    """Returns a folder for `figures`, with the formats of `--format`; for `figures/x.pdf`, files `x-...` in that format.

    Raises ConfigError for other image formats, for a file where a folder is needed, and for contradicting formats.
    """
    ending = asked.suffix.lower().removeprefix(".")
    if asked.is_dir():
        return Place(asked, "", tuple(formats) or ("png",))
    if ending in OTHERS:
        raise ConfigError(f"{flag} {asked}: figures are written as {', '.join(FORMATS)}; name a folder, or a file of that kind")
    if ending not in FORMATS:
        if asked.exists():
            raise ConfigError(f"{flag} {asked} is a file; name a folder, or a file that ends in .{', .'.join(FORMATS)}")
        return Place(asked, "", tuple(formats) or ("png",))
    if formats and list(formats) != [ending]:
        raise ConfigError(f"{flag} {asked} contradicts --format {','.join(formats)}: leave out --format, or name a folder")
    return Place(asked.parent, asked.stem, (ending,))


def plot(tables: Sequence[Table], place: Place) -> list[str]:
    """Writes figures for each table: values of classes by rank, shot groups, and where the table has them reliability, from
    the predictions of runs, and experts; returns lines to print.

    All but reliability show the first metric of the task, whichever metric the table shows. Raises ConfigError without
    matplotlib.
    """
    _need_matplotlib("--plots")
    from ltrun.report.figures import classes, groups
    from ltrun.report.figures.style import beside_experts, headlines

    said: list[str] = []
    for i, table in enumerate(tables):
        if not headlines(table):
            continue
        drawn: dict[str, Callable[[], Figure]] = {"classes": partial(classes, table), "groups": partial(groups, table)}
        if several := beside_experts(table):
            drawn["experts"] = partial(groups, table, several)
        if len({tuple(record.classes["counts"]) for row in table.rows for record, _ in row.runs}) > 1:
            del drawn["classes"]  # rows are averaged over data sets
        drawn |= _reliability(table, said)
        said += _write(drawn, place, _stem(place, i, table.title, len(tables)))
    return said


def _reliability(table: Table, said: list[str]) -> dict[str, Callable[[], Figure]]:
    """Returns the figure of reliability, by its kind; none without predictions. Adds a line on runs that it leaves out."""
    from ltrun.report.figures import reliability
    from ltrun.report.figures.style import headlines
    from ltrun.report.reliable import reliabilities

    rows = headlines(table)
    found, lacking = reliabilities(table, rows)
    runs = sum(row.n for row in rows)
    if lacking:
        said.append(
            f"{table.title}: the reliability diagram leaves out {lacking} of {runs} runs, whose predictions.npz cannot be read"
        )
    kept = [(row, bins) for row, bins in zip(rows, found, strict=True) if bins is not None]
    if not kept:
        return {}
    shown, bins_of = [row for row, _ in kept], [bins for _, bins in kept]
    return {"reliability": partial(reliability, table, shown, bins_of)}


def plot_confusion(found: Sequence[Confusion], place: Place) -> list[str]:
    """Writes the heat map and the CSV matrix of each confusion; returns lines to print.

    Raises ConfigError without matplotlib.
    """
    _need_matplotlib("--confusion")
    from ltrun.report.figures import heat_map
    from ltrun.report.render.csv import matrix

    said = []
    for i, confusion in enumerate(found):
        stem = _stem(place, i, confusion.title, len(found))
        said += _write({"confusion": partial(heat_map, confusion)}, place, stem)
        write_atomically(place.folder / f"{stem}-confusion.csv", partial(_write_lines, matrix(confusion)))
        said.append(f"{place.folder / f'{stem}-confusion.csv'} written")
    return said


def check_diagram(file: Path) -> None:
    """Raises ConfigError unless a file's name ends in a format of figures, and without matplotlib."""
    if file.suffix.lower().removeprefix(".") not in FORMATS or file.is_dir():
        raise ConfigError(f"--diagram {file}: name a file that ends in .{', .'.join(FORMATS)}")
    _need_matplotlib("--diagram")


def plot_ranks(found: Ranking, file: Path) -> list[str]:
    """Writes a critical-difference diagram to a file that `check_diagram` takes; returns lines to print."""
    from ltrun.report.figures import ranks

    return _write({"": partial(ranks, found)}, Place(file.parent, "", (file.suffix[1:].lower(),)), file.stem)


def _write_lines(lines: Iterable[str], file: BinaryIO) -> None:
    file.writelines(line.encode() for line in lines)


def _need_matplotlib(flag: str) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{flag} needs matplotlib: install it with pip install 'ltrun[plots]'") from error


def _stem(place: Place, index: int, title: str, count: int) -> str:
    """Returns the beginning of the names of a figure's files. count: the number of titles."""
    name = f"{index + 1}-{re.sub(r'[^A-Za-z0-9_.=-]+', '_', title).strip('_')[:80]}"
    return "-".join(filter(None, (place.stem, name if count > 1 or not place.stem else "")))


def _write(drawn: Mapping[str, Callable[[], Figure]], place: Place, stem: str) -> list[str]:
    """Writes each figure in every format of the place; returns lines to print. drawn: end of a file's name -> the function that
    draws it."""
    from ltrun.report.figures.style import styled

    said = []
    with styled(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for kind, draw in drawn.items():
            figure = draw()
            for ending in place.formats:
                data = io.BytesIO()
                figure.savefig(data, format=ending, metadata=FORMATS[ending])
                file = place.folder / f"{stem}{'-' * bool(kind)}{kind}.{ending}"
                write_atomically(file, data.getvalue())
                said.append(f"{file} written")
    lacking = {chr(int(match[1])) for each in told if (match := re.match(r"Glyph (\d+)", str(each.message)))}
    if lacking:
        letters = " ".join(sorted(lacking)[:20])
        said.append(f"matplotlib finds no font with {letters}, so figures show boxes: install one, such as Noto Sans CJK")
    return said
