"""`ltrun errors`: wrongly predicted test images of a run, as a table or as a page with thumbnails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltrun.errors import ConfigError, LtrunError
from ltrun.report.mistakes import Mistake
from ltrun.report.render import wrong as render
from ltrun.report.render.common import plain
from ltrun.report.wrong import Mistakes, mistakes_of
from ltrun.results.address import inert_keys
from ltrun.results.atomic import write_atomically
from ltrun.results.find import run_at
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from ltrun.data.thumbnails import Thumbnail

PAGES = (".html", ".htm")  # suffixes of existing files that may be replaced
TABLE, PAGE = 20, 500  # default numbers of images in a table and on a page


def main(argv: Sequence[str]) -> int:
    """Prints the wrongly predicted images of a run, most confident first, or writes a page of them. Raises LtrunError."""
    asked = _parser().parse_args(argv)
    file, record = run_at(asked.run)
    mistakes = mistakes_of(record, file.parent, asked.predictor, asked.label)
    if asked.html:
        if asked.html.exists() and asked.html.suffix.lower() not in PAGES:
            raise ConfigError(f"--html {asked.html}: this exists and is not a page; name a file that ends in {PAGES[0]}")
        count = PAGE if asked.top is None else asked.top
        _write_page(mistakes, count, asked.html, asked.root)
    elif asked.format:
        formats = {"csv": render.comma_separated, "json": render.as_json}
        sys.stdout.write(formats[asked.format](mistakes, asked.top))
    else:
        render.terminal(mistakes, TABLE if asked.top is None else asked.top)
    return 0


def _write_page(mistakes: Mistakes, count: int, file: Path, root: Path | None) -> None:
    from ltrun.report.render.gallery import gallery

    shown = mistakes.first(count)
    notes: list[str] = []
    pictures: Mapping[int, Thumbnail] = {}
    try:
        pictures = _pictures(mistakes.record, shown, root)
    except LtrunError as error:
        notes = [f"Without pictures: {error}"]
    write_atomically(file, gallery(mistakes, count, pictures, notes).encode())
    for note in notes:
        print(plain(note), file=sys.stderr)
    print(f"{mistakes.summary}; {file} shows {len(shown):,} of them")


def _pictures(record: RunRecord, shown: Sequence[Mistake], root: Path | None) -> dict[int, Thumbnail]:
    """Returns row of the test split -> thumbnail: of the files below the root, where the images are files there, or else of the
    images that the data set reads, from its archives or arrays.

    Raises LtrunError if the data set is missing or is not the run's.
    """
    from ltrun.config.plugins import from_environment
    from ltrun.data.thumbnails import of_files, of_stored
    from ltrun.engine.at_hand import TestImages

    rows = [wrong.row for wrong in shown]
    dataset = record.config.get("dataset")
    place = root or (dataset.get("root") if isinstance(dataset, Mapping) else None)
    if place is not None and "dataset.root" not in inert_keys(record.config):
        folder = Path(place)
        if not folder.is_dir():
            raise ConfigError(f"the images were in {folder}, which is not a folder here; say where they are with --root FOLDER")
        names = [wrong.image for wrong in shown if wrong.image is not None]
        if len(names) == len(shown) and any((folder / name).is_file() for name in names):
            return dict(zip(rows, of_files(folder, names, _read_at(record)), strict=True))
    there = TestImages.of(record, root, from_environment())
    numbers = np.array(rows, dtype=np.int64)
    if there.labels(numbers) != [wrong.labels for wrong in shown]:
        raise ConfigError("the data set has other labels than the run had")
    return dict(zip(rows, of_stored(there.pixels, numbers), strict=True))


def _read_at(record: RunRecord) -> float:
    """Returns the time when the run had read its data, in seconds since 1970, rounded up; infinity if it is not recorded."""
    told = record.provenance.get("started", record.provenance.get("date"))
    try:
        return datetime.fromisoformat(str(told)).timestamp() + 1
    except ValueError:
        return float("inf")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ltrun errors",
        description="Show the misclassified test images of a run, or those with missed or false labels, most confident first.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, or its result.json")
    parser.add_argument("--predictor", metavar="NAME", help="default: the predictor that stands for the method")
    parser.add_argument(
        "--class", dest="label", metavar="NAME", help="images of this class only, or its missed and false labels"
    )
    parser.add_argument(
        "--top", type=_count, metavar="N", help=f"how many; default: {TABLE} in a table, {PAGE} on a page, all as CSV or JSON"
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--csv", dest="format", action="store_const", const="csv", help="print comma-separated values")
    formats.add_argument("--json", dest="format", action="store_const", const="json", help="print JSON")
    formats.add_argument("--html", type=Path, metavar="FILE", help="write a page with thumbnails")
    parser.add_argument("--root", type=Path, metavar="FOLDER", help="where the images are now, for --html")
    return parser


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return count
