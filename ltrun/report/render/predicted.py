"""Predictions of images as lines, CSV, JSON and Parquet, written as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from ltrun.report.render.common import percent, plain
from ltrun.report.render.csv import text
from ltrun.results.atomic import replacing

ROWS = 10_000  # rows of a Parquet file that are written at a time


class Guess(NamedTuple):
    """The likeliest classes of an image, the first the likeliest. problem: why there are none, else empty.

    Of several labels per image, the classes are the predicted labels; without one, below is set, and they are the likeliest.
    """

    image: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    problem: str = ""
    below: bool = False

    @property
    def line(self) -> str:
        """`heron.jpg: heron 93.1%, lynx 4.0%`."""
        told = ", ".join(f"{name} {percent(share)}" for name, share in zip(self.classes, self.probabilities, strict=True))
        return plain(f"{self.image}: {self.problem or (f'none above 50%; likeliest: {told}' if self.below else told)}")

    @property
    def pairs(self) -> list[dict[str, Any]]:
        return [{"class": name, "probability": round(p, 8)} for name, p in zip(self.classes, self.probabilities, strict=True)]

    @property
    def lists(self) -> list[tuple[Any, ...]]:
        """The cells of SEVERAL: the predicted labels or else the likeliest, with their probabilities."""
        none: list[tuple[Any, ...]] = [(), ()]
        some: list[tuple[Any, ...]] = [self.classes, self.probabilities]
        return none + some if self.below else some + none


SEVERAL = ["labels", "probabilities", "likeliest", "likeliest_probabilities"]  # columns for several labels per image


def columns(top: int | None) -> list[str]:
    """Returns the columns of CSV and Parquet: image, class, probability, class_2, probability_2 ..., problem.

    top: the number of classes of each image; None for images of several labels, with SEVERAL between image and problem.
    """
    if top is None:
        return ["image", *SEVERAL, "problem"]
    pairs = (f"{name}{'' if rank == 1 else f'_{rank}'}" for rank in range(1, top + 1) for name in ("class", "probability"))
    return ["image", *pairs, "problem"]


def comma_separated(guesses: Iterable[Guess], top: int | None, out: IO[str]) -> None:
    """Writes a line for each image; lists are joined by semicolons. Quotes names that a spreadsheet would take for formulas."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns(top))
    for guess in guesses:
        cells = [_cell(cell) for cell in _cells(guess, top)]
        writer.writerow([text(guess.image), *(cells or [""] * len(columns(top)[1:-1])), text(guess.problem)])


def as_json(guesses: Iterable[Guess], top: int | None, out: IO[str]) -> None:
    """Writes a list with an object for each image: `image`, and `predictions` or `problem`; where no label is predicted, also
    `likeliest`."""
    before = "[\n"
    for guess in guesses:
        said: dict[str, Any] = {"problem": guess.problem} if guess.problem else {"predictions": guess.pairs}
        said |= {"predictions": [], "likeliest": guess.pairs} if guess.below else {}
        out.write(before + json.dumps({"image": guess.image, **said}, ensure_ascii=False))
        before = ",\n"
    out.write("\n]\n" if before != "[\n" else "[]\n")


def parquet(guesses: Iterable[Guess], top: int | None, file: Path) -> None:
    """Writes a row for each image, in groups of ROWS; classes and probabilities of an image with a problem are null."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    names = columns(top)
    types = [pa.float32() if "probabilit" in name else pa.string() for name in names]
    types = [pa.list_(kind) if name in SEVERAL else kind for name, kind in zip(names, types, strict=True)]
    schema, rows = pa.schema(list(zip(names, types, strict=True))), iter(guesses)
    with pq.ParquetWriter(file, schema) as writer:
        while some := list(islice(rows, ROWS)):
            cells = [[_encodable(g.image), *(_cells(g, top) or [None] * (len(names) - 2)), g.problem or None] for g in some]
            arrays = [pa.array(column, kind) for column, kind in zip(zip(*cells, strict=True), types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def write(guesses: Iterable[Guess], top: int | None, file: Path, kind: str) -> None:
    """Writes a file of one kind, csv, json or parquet, which appears when it is whole. Raises TrainingError."""
    with replacing(file) as temporary:
        if kind == "parquet":
            parquet(guesses, top, temporary)
            return
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as out:
            TEXTS[kind](guesses, top, out)


def _cells(guess: Guess, top: int | None) -> Sequence[Any]:
    """Returns the cells between image and problem; none for an image with a problem."""
    if guess.problem:
        return []
    return (
        guess.lists if top is None else [cell for pair in zip(guess.classes, guess.probabilities, strict=True) for cell in pair]
    )


def _cell(cell: Any) -> str:
    if isinstance(cell, tuple):
        return text(";".join(f"{one:.6g}" if isinstance(one, float) else one for one in cell))
    return f"{cell:.6g}" if isinstance(cell, float) else text(cell)


def _encodable(name: str) -> str:
    """Returns a name with bytes that are no UTF-8 written out, as Parquet holds UTF-8 alone."""
    return name.encode("utf-8", "backslashreplace").decode()


def lines(guesses: Iterable[Guess]) -> Iterator[str]:
    return (guess.line for guess in guesses if not guess.problem)


TEXTS: dict[str, Callable[[Iterable[Guess], int | None, IO[str]], None]] = {"csv": comma_separated, "json": as_json}
