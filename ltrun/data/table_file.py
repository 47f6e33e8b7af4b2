"""Table files: CSV, TSV, JSON lines and Parquet, read as columns of text with the line of each row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltrun.data.class_folders import ENDINGS
from ltrun.data.images import POINTER, no_file, shown
from ltrun.data.parquet import opened
from ltrun.errors import DataError

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}  # of the header; the most frequent counts
LINES = (".jsonl", ".ndjson")
KINDS = (*DELIMITERS, *LINES, ".parquet")


@dataclass(frozen=True, eq=False)
class TableFile:
    """The columns of a table of N rows. names: of the columns, in their order. lines: (N,) where each row is in the file,
    counted as `unit` counts: lines from 1, rows of a Parquet file from 0. load: name of a column -> its N cells."""

    path: Path
    names: tuple[str, ...]
    lines: Sequence[int]
    load: Callable[[str], Sequence[Any]]
    unit: str = "line"

    def at(self, row: int) -> str:
        """Returns where a row is: `line 7`."""
        return f"{self.unit} {self.lines[row]}"

    def text(self, name: str) -> list[str]:
        """Returns the N cells of a column as text without blanks around it; empty or null as ''. Raises DataError, which names
        the line, for a cell that is neither text nor a number."""
        return text_of(self.load(name), name, lambda row: f"{shown(self.path)}, {self.at(row)}")


def text_of(cells: Sequence[Any], name: str, where: Callable[[int], str]) -> list[str]:
    """Returns the cells of a column as `TableFile.text` does. where: row -> the file and the row in it."""
    found = [cell.strip() if isinstance(cell, str) else _text(cell) for cell in cells]
    if None in found:
        row = found.index(None)
        raise DataError(f"{where(row)}: '{name}' is a {type(cells[row]).__name__}, not one text or number: repair the row")
    return [cell for cell in found if cell is not None]


def _text(cell: Any) -> str | None:
    if cell is None or cell != cell:  # null, NaN
        return ""
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return str(cell).lower() if isinstance(cell, bool) else None
    return str(int(cell)) if cell == cell // 1 else str(cell)


def read_table(path: Path) -> TableFile:
    """Reads a table; its ending says its kind. Raises DataError, which names the file, and the line if one is wrong."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        others = "a spreadsheet program saves it as CSV" if kind.startswith((".xls", ".ods")) else "save it as one of them"
        raise DataError(f"{shown(path)} is none of the tables that ltrun reads ({', '.join(KINDS)}): {others}")
    table = _parquet(path) if kind == ".parquet" else _lines(path) if kind in LINES else _separated(path, DELIMITERS[kind])
    if twice := next((name for n, name in enumerate(table.names) if name and name in table.names[:n]), None):
        raise DataError(f"{shown(path)} has two columns called {twice!r}: rename one of them")
    if not len(table.lines):
        raise DataError(f"{shown(path)} has columns and no rows: add a row for each image")
    return table


def _content(path: Path) -> str:
    """Returns the text of a file, without a byte order mark. Raises DataError for a file that is not text in UTF-8."""
    if reason := no_file(path):
        raise DataError(f"{shown(path)} {reason}: give a table with a row for each image as dataset.file=FILE")
    content = path.read_bytes()
    if content.startswith(POINTER):
        raise DataError(f"{shown(path)} is a Git LFS pointer, not a table: `git lfs pull` fetches the table")
    if content.startswith(UTF_16):
        raise DataError(f"{shown(path)} is encoded as UTF-16: save it as UTF-8, as in: iconv -f utf-16 -t utf-8")
    if b"\0" in content:
        raise DataError(f"{shown(path)} holds zero bytes, so it is no text: give a table with a row for each image")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{shown(path)} is not encoded as UTF-8 (byte 0x{content[error.start]:02x} in line {line}), perhaps as Latin-1: "
            "save it as UTF-8, as in: iconv -f latin1 -t utf-8"
        ) from None


def _separated(path: Path, delimiters: str) -> TableFile:
    text = _content(path)
    first = text.partition("\n")[0]
    delimiter = max(delimiters, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        for cells in reader:
            if not any(cells):  # a blank line, or the empty rows that spreadsheet programs append
                continue
            if len(cells) != len(header):
                more = len(cells) > len(header)
                way_out = f"put a cell that holds {delimiter!r} between double quotes" if more else "fill in the others"
                where = f"{shown(path)}, line {reader.line_num}"
                raise DataError(f"{where}, has {len(cells)} of {len(header)} cells that the header names: {way_out}")
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{shown(path)}, line {reader.line_num}, cannot be read ({error}): repair its double quotes") from None
    if not any(header):
        raise DataError(f"{shown(path)} has no header: begin it with a line such as image,label")
    if image := next((name for name in header if name.lower().endswith(ENDINGS)), None):
        raise DataError(f"{shown(path)} has no header, as its first line names {shown(image)}: put image,label above it")
    columns = dict(zip(header, zip(*rows, strict=True), strict=False))
    return TableFile(path, tuple(header), lines, columns.__getitem__)


def _lines(path: Path) -> TableFile:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(_content(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"{shown(path)}, line {number}, is not JSON ({reason}): repair the line") from None
        if not isinstance(row, dict):
            raise DataError(
                f'{shown(path)}, line {number}, is no object such as {{"image": "a.jpg", "label": "ant"}}: repair it'
            )
        rows.append(row)
        lines.append(number)
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise DataError(f"{shown(path)} has no rows: add a line for each image")
    return TableFile(path, names, lines, lambda name: [row.get(name) for row in rows])


def _parquet(path: Path) -> TableFile:
    with opened(path) as file:
        names, rows = tuple(file.schema_arrow.names), file.metadata.num_rows

    def load(name: str) -> Sequence[Any]:
        with opened(path) as file:
            kind = str(file.schema_arrow.field(name).type)
            if "binary" in kind:
                raise DataError(
                    f"{shown(path)} holds images in its column '{name}' ({kind}), not their paths: give dataset=parquet and "
                    "the file's folder as dataset.root"
                )
            try:
                cells: list[Any] = file.read(columns=[name]).column(name).to_pylist()
            except UnicodeDecodeError:
                raise DataError(
                    f"{shown(path)}: its column '{name}' holds text that is not UTF-8: write the file anew"
                ) from None
            return cells

    return TableFile(path, names, range(rows), load, unit="row")
