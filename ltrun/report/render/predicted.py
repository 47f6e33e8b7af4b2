"""Predictions of images as lines, CSV, JSON and Parquet, written as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from ltrun.report.render.common import plain
from ltrun.report.render.csv import text
from ltrun.results.atomic import replacing

ROWS = 10_000  # rows of a Parquet file that are written at a time


class Guess(NamedTuple):
    """The likeliest classes of an image, the first the likeliest. problem: why there are none, else empty."""

    image: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    problem: str = ""

    @property
    def line(self) -> str:
        """`heron.jpg: heron 93.1%, lynx 4.0%`."""
        told = (f"{name} {100 * share:.1f}%" for name, share in zip(self.classes, self.probabilities, strict=True))
        return plain(f"{self.image}: {self.problem or ', '.join(told)}")


def columns(top: int) -> list[str]:
    """Returns the columns of CSV and Parquet: image, class, probability, class_2, probability_2 ..., problem."""
    pairs = (f"{name}{'' if rank == 1 else f'_{rank}'}" for rank in range(1, top + 1) for name in ("class", "probability"))
    return ["image", *pairs, "problem"]


def comma_separated(guesses: Iterable[Guess], top: int, out: IO[str]) -> None:
    """Writes a line for each image. Quotes names that a spreadsheet would take for formulas."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns(top))
    for guess in guesses:
        cells = [f"{cell:.6g}" if isinstance(cell, float) else text(cell) for cell in _pairs(guess)]
        writer.writerow([text(guess.image), *(cells or [""] * (2 * top)), text(guess.problem)])


def as_json(guesses: Iterable[Guess], top: int, out: IO[str]) -> None:
    """Writes a list with an object for each image: `image`, and `predictions` or `problem`."""
    before = "[\n"
    for guess in guesses:
        found = [
            {"class": name, "probability": round(p, 8)} for name, p in zip(guess.classes, guess.probabilities, strict=True)
        ]
        said: dict[str, Any] = {"problem": guess.problem} if guess.problem else {"predictions": found}
        out.write(before + json.dumps({"image": guess.image, **said}, ensure_ascii=False))
        before = ",\n"
    out.write("\n]\n" if before != "[\n" else "[]\n")


def parquet(guesses: Iterable[Guess], top: int, file: Path) -> None:
    """Writes a row for each image, in groups of ROWS; classes and probabilities of an image with a problem are null."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    names = columns(top)
    types = [pa.float32() if name.startswith("probability") else pa.string() for name in names]
    schema, rows = pa.schema(list(zip(names, types, strict=True))), iter(guesses)
    with pq.ParquetWriter(file, schema) as writer:
        while some := list(islice(rows, ROWS)):
            cells = [[_encodable(g.image), *(_pairs(g) or [None] * (2 * top)), g.problem or None] for g in some]
            arrays = [pa.array(column, kind) for column, kind in zip(zip(*cells, strict=True), types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def write(guesses: Iterable[Guess], top: int, file: Path, kind: str) -> None:
    """Writes a file of one kind, csv, json or parquet, which appears when it is whole. Raises TrainingError."""
    with replacing(file) as temporary:
        if kind == "parquet":
            parquet(guesses, top, temporary)
            return
        with temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as out:
            TEXTS[kind](guesses, top, out)


def _pairs(guess: Guess) -> Sequence[Any]:
    return [cell for pair in zip(guess.classes, guess.probabilities, strict=True) for cell in pair]


def _encodable(name: str) -> str:
    """Returns a name with bytes that are no UTF-8 written out, as Parquet holds UTF-8 alone."""
    return name.encode("utf-8", "backslashreplace").decode()


def lines(guesses: Iterable[Guess]) -> Iterator[str]:
    return (guess.line for guess in guesses if not guess.problem)


TEXTS: dict[str, Callable[[Iterable[Guess], int, IO[str]], None]] = {"csv": comma_separated, "json": as_json}
