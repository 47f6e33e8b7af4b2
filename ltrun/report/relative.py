"""Relative accuracy: how much of the accuracy of balanced training a method reaches on the long tail."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ltrun.errors import ConfigError, DataError
from ltrun.metrics import RELATIVE, SINGLE_LABEL
from ltrun.results.address import as_typed
from ltrun.results.record import RunRecord
from ltrun.taxonomy import SLOTS

ACCURACY, UPPER, RATIO = (metric.name for metric in RELATIVE)
PROFILE, BALANCED = "dataset.profile", "balanced"
PLAIN = "erm", "plain"  # the method and predictor of vanilla training
Key = tuple[str, str, str]  # data set; method; its other changes


def with_relative(records: Sequence[RunRecord], split: str) -> tuple[list[RunRecord], list[str]]:
    """Returns the long-tailed runs, with `upper` and `relative` in the metrics of a split, and sentences on what is missing.

    upper: max(A_v, A_b), where A_v is the accuracy of plain training and A_b of the same method and predictor, each on a
    balanced training set of the same size and over all seeds there are. relative: the accuracy of the run divided by it. Both
    references have the run's changes; plain training has those of its changes that are no choice of a method's slot. A run
    without both references has neither number, and a sentence names the commands that train them. Raises ConfigError if all
    runs have several labels, and DataError if all are balanced.

    Zhang et al., 2023, TPAMI, arXiv 2110.04596, section 4.2.
    """
    single = [record for record in records if record.task == SINGLE_LABEL]
    if not single:
        raise ConfigError("relative is for one label per image, and the images of these runs have several: leave it out")
    references: dict[Key, list[RunRecord]] = defaultdict(list)
    for record in single:
        if _profile(record) == BALANCED:
            references[_key(record, record.method)].append(record)
    missing: dict[str, dict[str, None]] = defaultdict(dict)
    found = []
    for record in single:
        if _profile(record) != BALANCED:
            wanted = [_key(record, PLAIN[0], plain=True), _key(record, record.method)]
            for key in wanted:
                if key not in references:
                    missing[f"dataset={key[0]} {key[2]}".strip()][key[1]] = None
            found.append(_measured(record, [references.get(key, []) for key in wanted], split))
    if not found:
        raise DataError("relative: all runs have dataset.profile=balanced; name the folder of the long-tailed runs too")
    notes = [
        f"relative accuracy needs balanced runs; train them with: ltrun -m {_choice(methods)} {words} {PROFILE}={BALANCED}"
        for words, methods in missing.items()
    ]
    return found, notes


def _choice(methods: Iterable[str]) -> str:
    return f"method={','.join(methods)}"


def _profile(record: RunRecord) -> Any:
    return record.config.get("dataset", {}).get("profile")


def _key(record: RunRecord, method: str, plain: bool = False) -> Key:
    """Returns data set, method and changes of a run or of its reference. plain: without choices in the method's slots."""
    changes: Mapping[str, Any] = {
        key: value for key, value in record.changes.items() if key != PROFILE and not (plain and key.partition(".")[0] in SLOTS)
    }
    return record.dataset, method, " ".join(f"{key}={as_typed(value)}" for key, value in sorted(changes.items()))


def _measured(record: RunRecord, references: Sequence[Sequence[RunRecord]], split: str) -> RunRecord:
    predictors: dict[str, Any] = dict(record.predictors)
    vanilla, same = references
    for predictor, results in record.predictors.items():
        if split not in results["splits"]:
            continue
        values = results["splits"][split]
        known = [value for value in (_mean(vanilla, PLAIN[1], split), _mean(same, predictor, split)) if value is not None]
        upper = max(known) if len(known) == len(references) else None
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
