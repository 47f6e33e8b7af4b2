"""Relative accuracy: how much of the accuracy of balanced training a method reaches on the long tail."""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ltrun.errors import ConfigError, DataError
from ltrun.metrics import RELATIVE, SINGLE_LABEL
from ltrun.results.address import as_typed
from ltrun.results.record import RunRecord
from ltrun.results.references import BALANCED, PLAIN, PROFILE, is_balanced, references, wanted, without_balance

ACCURACY, UPPER, RATIO = (metric.name for metric in RELATIVE)
VANILLA = "plain"  # the predictor of plain training
NEEDS = "relative accuracy needs balanced runs"


def with_relative(records: Sequence[RunRecord], split: str) -> tuple[list[RunRecord], list[str]]:
    """Returns the long-tailed runs, with `upper` and `relative` in the metrics of a split, and sentences on what is missing.

    upper: max(A_v, A_b), where A_v is the accuracy of plain training and A_b of the same method and predictor, each on a
    balanced training set of the same size and over all seeds there are. relative: the accuracy of the run divided by it. Which
    runs are references: see `is_reference`. A run without both has neither number, and a sentence names the command that
    trains them. Raises ConfigError if all runs have several labels, and DataError if all are balanced.

    Zhang et al., 2023, TPAMI, arXiv 2110.04596, section 4.2.
    """
    single = [record for record in records if record.task == SINGLE_LABEL]
    if not single:
        raise ConfigError("relative is for one label per image, and the images of these runs have several: leave it out")
    balanced: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in filter(is_balanced, single):
        balanced[record.dataset, record.method].append(record)
    lacking: list[tuple[RunRecord, bool]] = []
    measured = []
    for record in single:
        if is_balanced(record):
            continue
        vanilla = references(balanced[record.dataset, PLAIN], record, plain=True)
        same = references(balanced[record.dataset, record.method], record, plain=False)
        lacking += [(record, plain) for plain, found in ((True, vanilla), (False, same)) if not found]
        measured.append(_measured(record, vanilla, same, split))
    if not measured:
        raise DataError("relative: all runs have dataset.profile=balanced; name the folder of the long-tailed runs too")
    able = [(record, plain) for record, plain in lacking if not without_balance(record)]
    known = {id(record): record for record, _ in able if record.command}
    others = [(record, plain) for record, plain in able if not record.command]
    unable = dict.fromkeys(f"{record.dataset} {why}" for record, _ in lacking if (why := without_balance(record)))
    notes = [f"{NEEDS}; train them with: {command}" for command in (*_sweeps(list(known.values())), *_commands(others))]
    return measured, [*notes, *(f"{NEEDS}, but {told}" for told in unable)]


def with_both(records: Sequence[RunRecord], split: str) -> list[RunRecord]:
    """Returns the long-tailed runs that have their relative accuracy on a split, with both references among the runs."""
    kinds = {is_balanced(record) for record in records if record.task == SINGLE_LABEL}
    found = with_relative(records, split)[0] if len(kinds) == 2 else []
    shown = [[each["splits"].get(split, {}) for each in record.predictors.values()] for record in found]
    return [record for record, values in zip(found, shown, strict=True) if any(each.get(RATIO) is not None for each in values)]


def _sweeps(records: Sequence[RunRecord]) -> Iterator[str]:
    """Yields commands that train the references of runs whose words are known. The runs themselves are done before."""
    seeds: dict[tuple[tuple[str, ...], str], set[int]] = defaultdict(set)  # by the other words and the method
    for record in records:
        words = tuple(word for word in record.command if word.lstrip("+").partition("=")[0] not in ("method", "seed"))
        seeds[words, record.method].add(record.seed)
    methods: dict[tuple[tuple[str, ...], tuple[int, ...]], list[str]] = defaultdict(list)
    for (words, method), found in seeds.items():
        methods[words, tuple(sorted(found))].append(method)
    for (words, each), names in methods.items():
        swept = [f"method={','.join(names)}", f"seed={','.join(map(str, each))}"]
        yield shlex.join(["ltrun", "-m", *swept, *words, "sweep.references=true"])


def _commands(lacking: Sequence[tuple[RunRecord, bool]]) -> Iterator[str]:
    """Yields commands that train the references of runs whose words no record has. plain: which of the two is missing."""
    missing: dict[str, dict[str, None]] = defaultdict(dict)
    for record, plain in lacking:
        changes = " ".join(f"{key}={as_typed(value)}" for key, value in sorted(wanted(record, plain).items()))
        missing[f"dataset={record.dataset} {changes}".strip()][PLAIN if plain else record.method] = None
    for words, methods in missing.items():
        yield f"ltrun -m method={','.join(methods)} {words} {PROFILE}={BALANCED}"


def _measured(record: RunRecord, vanilla: Sequence[RunRecord], same: Sequence[RunRecord], split: str) -> RunRecord:
    predictors: dict[str, Any] = dict(record.predictors)
    for predictor, results in record.predictors.items():
        if split not in results["splits"]:
            continue
        values: Mapping[str, Any] = results["splits"][split]
        of_both = (_mean(vanilla, VANILLA, split), _mean(same, predictor, split))
        known = [value for value in of_both if value is not None]
        upper = max(known) if len(known) == len(of_both) else None
        added = {UPPER: upper, RATIO: values[ACCURACY] / upper if upper else None}
        predictors[predictor] = {**results, "splits": {**results["splits"], split: {**values, **added}}}
    return replace(record, predictors=predictors)


def _mean(records: Sequence[RunRecord], predictor: str, split: str) -> float | None:
    """Returns the mean accuracy of a predictor over runs; None if none of them has it on the split."""
    values = [
        record.predictors[predictor]["splits"][split][ACCURACY]
        for record in records
        if predictor in record.predictors and split in record.predictors[predictor]["splits"]
    ]
    return math.fsum(values) / len(values) if values else None
