"""Records of runs from a result.json, a folder of runs, or a file that keeps a record a line (reproduction.json)."""

from __future__ import annotations

import json
from pathlib import Path

from ltrun.errors import ConfigError, DataError
from ltrun.report.collect import Problem, collect
from ltrun.results.address import RESULT
from ltrun.results.record import RunRecord


def records_at(place: Path) -> tuple[list[RunRecord], list[Problem]]:
    """The records of a file or a folder, and what is wrong with the rest of a folder. Raises DataError for a bad file."""
    if place.is_dir():
        return collect([place])
    if place.name == RESULT:
        return [RunRecord.load(place)], []
    return read_records(place), []


def read_records(file: Path) -> list[RunRecord]:
    """The records of a reproduction.json. Raises DataError."""
    try:
        return [RunRecord.parse(json.dumps(run).encode()) for run in json.loads(file.read_bytes())["runs"]]
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ConfigError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{file} is no reproduction.json ({error}): name one, a result.json or a folder of runs") from error
