"""Rows of tables by the words of a command line: a method, a label, a fingerprint, or a folder of runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ltrun.errors import MOST_NAMES, ConfigError, DataError, did_you_mean, nearest
from ltrun.report.collect import Problem, collect
from ltrun.report.configurations import PREDICTOR
from ltrun.report.group import tables
from ltrun.report.table import DAGGER, Row, Table
from ltrun.results.record import RunRecord


@dataclass(frozen=True)
class Contest:
    """The rows of one table that are compared. labels: of the rows, all different."""

    table: Table
    labels: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Word:
    """A word that names a row. place: the folder or file that it names, else None. predictor: the end of `erm:ncm`, or empty.

    origins: the results that the word may mean.
    """

    typed: str
    name: str
    predictor: str
    place: Path | None
    origins: set[Path] = field(default_factory=set)


def contests(
    typed: Sequence[str], folders: Callable[[], Sequence[Path]], metric: str | None, data_set: str | None
) -> tuple[list[Contest], list[str], list[Problem]]:
    """Returns a contest for each table that has all rows, sentences on tables that lack some, and problems of runs.

    folders: returns the places of the runs that names mean. data_set: a data set or a title of a table, None for all. Raises
    LtrunError if a word names no row or several, or if no table has all.
    """
    if twice := next((word for i, word in enumerate(typed) if word in typed[:i]), None):
        raise ConfigError(f"'{twice}' is named twice: name two different rows")
    words = [_word(text) for text in typed]
    records, problems = _records(words, folders)
    made = [table for table in tables(records, metric) if table.split == "test"]
    made = _of_data_set(made, data_set)
    found, lacking = [], []
    for table in made:
        rows = [_row(table, word) for word in words]
        absent = [word.typed for word, row in zip(words, rows, strict=True) if row is None]
        if absent:
            lacking.append((table, absent))
        else:
            there = tuple(row for row in rows if row is not None)
            found.append(Contest(table, _labels(there, words), there))
    for word in words:
        if all(word.typed in absent for _, absent in lacking) and not found:
            raise ConfigError(_unknown(word, made))
    if not found:
        has = "; ".join(f"{table.title} lacks {' and '.join(absent)}" for table, absent in lacking)
        raise DataError(f"no data set has runs of {' and '.join(typed)}, and runs of different data are not compared: {has}")
    named = [each for each in lacking if len(each[1]) < len(words)]
    return found, [f"{table.title} is left out: it has no {' and no '.join(absent)}" for table, absent in named], problems


def _word(typed: str) -> Word:
    if Path(typed).exists() and "/" in typed:
        return Word(typed, typed, "", Path(typed))
    base, _, predictor = typed.rpartition(":")
    if base and "/" in base and Path(base).exists():
        return Word(typed, base, predictor, Path(base))
    if "/" in typed and "[" not in typed:
        raise DataError(f"there is no {typed}: name a folder of runs, a result.json, or a method")
    return Word(typed, typed, "", None)


def _records(words: Sequence[Word], folders: Callable[[], Sequence[Path]]) -> tuple[list[RunRecord], list[Problem]]:
    """Returns the records of all places once; tells each word which results are its own."""
    kept: dict[Path, RunRecord] = {}
    problems: dict[str, Problem] = {}
    for word in words:
        if word.place is None:
            continue
        found, met = collect([word.place])
        if not found:
            reason = f": {met[0].text}" if met else ""
            raise DataError(f"{word.place} holds no finished run{reason}")
        word.origins.update(_paths(found, kept))
        problems |= {problem.text: problem for problem in met}
    if named := [word for word in words if word.place is None]:
        places = folders()
        found, met = collect(places)
        if not found:
            where = ", ".join(map(str, places))
            raise DataError(
                f"no finished run under {where}: train some with 'ltrun -m method=erm,ldam seed=0,1,2', or name --in"
            )
        origins = set(_paths(found, kept))
        for word in named:
            word.origins.update(origins)
        problems |= {problem.text: problem for problem in met}
    return list(kept.values()), list(problems.values())


def _paths(records: Sequence[RunRecord], kept: dict[Path, RunRecord]) -> Iterator[Path]:
    for record in records:
        path = (record.path or Path()).resolve()
        kept.setdefault(path, record)
        yield path


def _of_data_set(made: Sequence[Table], wanted: str | None) -> list[Table]:
    if wanted is None:
        return list(made)
    names = {table.title: {table.title, table.heading, table.rows[0].runs[0][0].dataset} for table in made}
    chosen = [table for table in made if _plain(wanted) in map(_plain, names[table.title])]
    if not chosen:
        raise ConfigError(f"--dataset: no run is of '{wanted}'{did_you_mean(wanted, set().union(*names.values()))}")
    return chosen


def _row(table: Table, word: Word) -> Row | None:
    """Returns the row that a word names in a table, with the word's own runs; None if it names none. Raises ConfigError."""
    own = []
    for row in table.rows:
        if runs := tuple(run for run in row.runs if (run[0].path or Path()).resolve() in word.origins):
            own.append(replace(row, runs=runs))
    if word.place is not None:
        return _with_predictor(_only([row for row in own if _is_headline(row)], word, table), word.predictor, own)
    exact = [row for row in own if _plain(word.name) == _plain(label_of(row))]
    if exact:
        return _only(exact, word, table)
    named = _by_name(own, word.name)
    if named or ":" not in word.name:
        return _only(named, word, table)
    base, _, predictor = word.name.rpartition(":")
    return _with_predictor(_only(_by_name(own, base), word, table), predictor, own)


def _by_name(own: Sequence[Row], name: str) -> list[Row]:
    """Returns the headline rows of a label, a method with its changes, a method's name in papers, a method or a fingerprint;
    the first kind that has any counts."""
    rows = [row for row in own if _is_headline(row)]
    kinds: list[Callable[[Row], str]] = [
        label_of,
        lambda row: row.keys["method"],
        lambda row: row.names[0],
        lambda row: row.runs[0][0].method,
        lambda row: row.keys["fingerprint"],
    ]
    found = ([row for row in rows if _plain(kind(row)) == _plain(name)] for kind in kinds)
    return next(filter(None, found), [])


def _with_predictor(row: Row | None, predictor: str, own: Sequence[Row]) -> Row | None:
    if row is None or not predictor:
        return row
    mine = {each.keys[PREDICTOR]: each for each in own if each.keys["fingerprint"] == row.keys["fingerprint"]}
    if predictor not in mine:
        raise ConfigError(f"{label_of(row)} has no predictor '{predictor}'{did_you_mean(predictor, mine)}")
    return mine[predictor]


def _only(rows: Sequence[Row], word: Word, table: Table) -> Row | None:
    if len(rows) > 1:
        listed = ", ".join(f"'{label_of(row)}' ({row.keys['fingerprint']})" for row in rows[:MOST_NAMES])
        raise ConfigError(
            f"{word.typed} names {len(rows)} rows of {table.title}: name one by its label or fingerprint: {listed}"
        )
    return rows[0] if rows else None


def _is_headline(row: Row) -> bool:
    return row.keys[PREDICTOR] == row.runs[0][0].headline


def label_of(row: Row) -> str:
    """Returns the names of a row as its table prints them, without the mark of test inputs."""
    return ", ".join(row.names).replace(f" {DAGGER}", "")


def _labels(rows: Sequence[Row], words: Sequence[Word]) -> tuple[str, ...]:
    labels = [label_of(row) for row in rows]
    return tuple(
        label if labels.count(label) == 1 else f"{label} ({word.typed})" for label, word in zip(labels, words, strict=True)
    )


def _unknown(word: Word, made: Sequence[Table]) -> str:
    if word.place is not None:
        return f"{word.typed}: its runs are not of the data set that --dataset names"
    rows = [row for table in made for row in table.rows]
    methods = {row.runs[0][0].method for row in rows}
    known = methods if nearest(word.name, methods) else methods | {label_of(row) for row in rows}
    here = f"; for the folder write ./{word.name}" if Path(word.name).exists() else ""
    return f"no row is called '{word.name}'{did_you_mean(word.name, known)}{here}"


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", text).casefold()
