"""Metrics of `ltrun.metrics.STORED` and `SETS`, computed from the stored predictions of a run with one label per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ltrun.evaluation import calibration, open_set
from ltrun.evaluation.classes import (
    area_under_roc,
    areas_under_roc,
    f1_scores,
    geometric_mean,
    harmonic_mean,
    recalls,
    shares_of_groups,
)
from ltrun.evaluation.probabilities import Fractions
from ltrun.evaluation.shifts import Integers, ShiftedSets, Shifts
from ltrun.metrics import GROUPS, Shots
from ltrun.results.open_images import Guesses
from ltrun.results.predictions import Predictions

Values = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Tested:
    """The test images of a run as a predictor saw them. counts: (C,) training images of each class. shots: limits of groups.

    opened: returns what the predictor says of the run's open images, or raises DataError. sets: test sets of other class
    distributions that lists name; None: they are drawn.
    """

    predictions: Predictions
    counts: Sequence[int]
    shots: Shots
    opened: Callable[[], Guesses]
    sets: ShiftedSets | None = None

    @property
    def labels(self) -> Integers:
        return self.predictions.labels

    @cached_property
    def groups(self) -> Integers:
        """(C,) shot group of each class: 0 for many, 1 for medium, 2 for few."""
        return np.array([list(GROUPS).index(self.shots.group(n)) for n in self.counts])

    @cached_property
    def recalls(self) -> Fractions:
        """(C,) recall of each class."""
        return recalls(self.labels, self.predictions.predicted, len(self.counts))

    def over(self, values: Fractions, mean: Callable[[Fractions], float | None]) -> list[float | None]:
        """Returns the mean of the values of all classes, (C,), and of each shot group; None for a group without classes."""
        return [mean(values), *(mean(values[self.groups == group]) for group in range(len(GROUPS)))]


def _arithmetic_mean(values: Fractions) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _with_groups(name: str, prefix: str, found: Sequence[float | None]) -> Values:
    return dict(zip((name, *(f"{prefix}{group}" for group in GROUPS)), found, strict=True))


def adaptive_ece(tested: Tested) -> Values:
    found = calibration.confidences(tested.labels, tested.predictions.scores)
    return {"adaptive_ece": calibration.adaptive_error(*found)}


def classwise_ece(tested: Tested) -> Values:
    errors = calibration.classwise_errors(tested.labels, tested.predictions.scores)
    return _with_groups("classwise_ece", "classwise_ece_", tested.over(errors, _arithmetic_mean))


def macro_f1(tested: Tested) -> Values:
    scores = f1_scores(tested.labels, tested.predictions.predicted, len(tested.counts))
    return _with_groups("macro_f1", "f1_", tested.over(scores, _arithmetic_mean))


def g_mean(tested: Tested) -> Values:
    return _with_groups("g_mean", "g_mean_", tested.over(tested.recalls, geometric_mean))


def harmonic(tested: Tested) -> Values:
    _, *groups = tested.over(tested.recalls, _arithmetic_mean)
    return {"harmonic": harmonic_mean(groups)}


def auroc(tested: Tested) -> Values:
    areas = areas_under_roc(tested.labels, tested.predictions.scores)
    return _with_groups("auroc", "auroc_", tested.over(areas, _arithmetic_mean))


def open_f(tested: Tested) -> Values:
    """Also `opened`: number and digest of the open images, in a mapping."""
    guesses = tested.opened()
    known, right = calibration.confidences(tested.labels, tested.predictions.scores)
    hits = right & open_set.accepted(known)
    there = recalls(tested.labels, np.where(hits, tested.labels, len(tested.counts)), len(tested.counts))
    _, *groups = tested.over(there, _arithmetic_mean)
    found = open_set.f_measure(right, known, guesses.confidences)
    return {**_with_groups("open_f", "open_", [found, *groups]), **_opened(guesses)}


def open_auroc(tested: Tested) -> Values:
    """Also `opened`, as `open_f`."""
    guesses = tested.opened()
    known, _ = calibration.confidences(tested.labels, tested.predictions.scores)
    return {"open_auroc": area_under_roc(known, guesses.confidences), **_opened(guesses)}


def _opened(guesses: Guesses) -> Values:
    return {"opened": {"images": len(guesses.classes), "digest": guesses.digest}}


def predicted(tested: Tested) -> Values:
    """Also `labelled`: the shares of the labels, in a mapping, as the tables' captions state them."""
    said, true = (
        shares_of_groups(values, tested.groups, len(GROUPS)) for values in (tested.predictions.predicted, tested.labels)
    )
    shares = {f"predicted_{group}": share for group, share in zip(GROUPS, said, strict=True)}
    return {**shares, "labelled": dict(zip(GROUPS, true, strict=True))}


def shifts(tested: Tested) -> Values:
    """Raises DataError for a test split without such test sets. Also `shifted`: images of a class, and lists, in a mapping."""
    drawn = Shifts(tested.labels, np.array(tested.counts))
    sets = tested.sets or drawn.sets()
    right = tested.predictions.predicted == tested.labels
    found = {name: float(right[rows].mean()) for name, rows in {"uniform": drawn.rows(1), **sets.rows}.items()}
    return {**found, "shifted": {"each": drawn.each, "equal": drawn.equal, "files": sets.files}}


MEASURED: Mapping[str, Callable[[Tested], Values]] = {
    each.__name__: each
    for each in (
        adaptive_ece, classwise_ece, macro_f1, g_mean, harmonic, auroc, open_f, open_auroc, predicted, shifts,
    )
}  # fmt: skip
"""Name of a metric, or of a set of metrics -> function that returns the record's keys and values."""
