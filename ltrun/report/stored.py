"""Metrics that no record holds, computed from the predictions of the runs, and added to their records in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ltrun.errors import ConfigError, DataError, LtrunError
from ltrun.evaluation.stored import MEASURED, Tested
from ltrun.metrics import MULTI_LABEL, SETS, SINGLE_LABEL, STORED, TASKS, Shots
from ltrun.report.shift_lists import ShiftLists
from ltrun.results.open_images import guesses_of
from ltrun.results.predictions import predictions_of
from ltrun.results.record import EXPERT, RunRecord

TEST = "test"


def is_stored(name: str | None) -> bool:
    """Whether a metric, or a set of metrics, is computed from predictions."""
    return name in MEASURED


def with_stored(
    records: Sequence[RunRecord], name: str, split: str = TEST, lists: Path | None = None
) -> tuple[list[RunRecord], list[str]]:
    """Returns the records with the values of a metric, or of a set of metrics, in the metrics of their test split.

    Also returns sentences on runs that have none. Single experts of an ensemble have no predictions of their own. Runs with
    several labels per image stay as they are. lists: a folder with the lists of the test sets of `shifts`. Raises ConfigError
    if all have several labels, which have no such metric, or for a split whose predictions runs do not keep; and DataError if
    no run has the metric, and for lists that cannot be used.
    """
    if not any(record.task == SINGLE_LABEL for record in records):
        _refuse_several(records, name)
        return list(records), []
    if split != TEST:
        raise ConfigError(
            f"--split {split}: {name} needs predictions, and runs keep those of the test split only; leave it out"
        )
    given = None if lists is None else ShiftLists(lists, records)
    found, notes = [], dict[str, None]()
    for record in records:
        found.append(_measured(record, name, notes, given) if record.task == SINGLE_LABEL else record)
    if notes and all(one is other for one, other in zip(found, records, strict=True)):
        raise DataError(f"no run has a value of {name}. {next(iter(notes))}")
    return found, list(notes)


def _measured(record: RunRecord, name: str, notes: dict[str, None], lists: ShiftLists | None) -> RunRecord:
    folder = record.path.parent if record.path else Path()
    predictors: dict[str, Any] = dict(record.predictors)
    for predictor, results in record.predictors.items():
        if predictor.startswith(EXPERT) or TEST not in results["splits"]:
            continue
        try:
            read = predictions_of(record, folder, predictor)
            opened, sets = partial(guesses_of, record, folder, predictor), lists.of(record, read) if lists else None
            values = MEASURED[name](Tested(read, record.classes["counts"], Shots.of(record.config), opened, sets))
        except LtrunError as error:
            what = "" if str(folder) in str(error) else f"{record.dataset}: "
            notes[f"{what}{error}. The run has no {name}"] = None
            continue
        splits = {**results["splits"], TEST: {**results["splits"][TEST], **values}}
        predictors[predictor] = {**results, "splits": splits}
    return record if predictors == record.predictors else replace(record, predictors=predictors)


def _refuse_several(records: Sequence[RunRecord], name: str) -> None:
    if any(metric.name == name for metric in TASKS[MULTI_LABEL]):
        return
    names = ", ".join(dict.fromkeys(record.dataset for record in records))
    known = ", ".join([*(metric.name for metric in STORED[SINGLE_LABEL]), *SETS])
    raise ConfigError(
        f"{name} is for one label per image, as are {known}; the images of {names} have several: give another metric"
    )
