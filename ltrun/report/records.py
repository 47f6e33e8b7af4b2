"""Records of runs, read from a result.json, a folder of runs, or a reproduction.json with one record per line."""

from __future__ import annotations

import json
from pathlib import Path

from ltrun.errors import ConfigError, DataError
from ltrun.report.collect import Problem, collect
from ltrun.results.address import RESULT
from ltrun.results.record import RunRecord, UnknownRecord
from ltrun.results.schema import Unknown


def records_at(place: Path) -> tuple[list[RunRecord], list[Problem]]:
    """Returns the records of a file or a folder, and the faults of a folder. Raises DataError for a bad file."""
    if place.is_dir():
        return collect([place])
    if place.name == RESULT:
        return [RunRecord.load(place)], []
    return read_records(place), []


def read_records(file: Path) -> list[RunRecord]:
    """Returns the records of a reproduction.json. Raises DataError, and UnknownRecord for a record of a later version."""
    found: list[RunRecord] = []
    run = ""
    try:
        for number, content in enumerate(json.loads(file.read_bytes())["runs"], 1):
            run = f"run {number}: "
            found.append(RunRecord.parse(json.dumps(content).encode()))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except Unknown as error:
        raise UnknownRecord(
            f"{file} holds a run that this ltrun cannot read ({run}{error}): update ltrun to read it"
        ) from error
    except (ConfigError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{file} is no reproduction.json ({run}{error}): name one, a result.json or a folder of runs"
        ) from error
    return found
