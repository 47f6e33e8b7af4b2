"""Counts of a run's predictions by class: shares of images, precision, recall and F1, for one or several labels per image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ltrun.metrics import GROUPS
from ltrun.results.predictions import Integers

Fractions = NDArray[np.float64]


class Counted(Protocol):
    """The predictions of one run for C classes."""

    @property
    def support(self) -> Integers:
        """(C,) test images with each label."""

    def row(self, label: int) -> Fractions:
        """Returns the (C,) shares of the images with a label that are predicted as each class; nan without such images."""

    def grouped(self, groups: Integers) -> Fractions:
        """Returns (C, 4) shares of the images with each label: right, and wrong by a class of each group; nan without images.

        groups: (C,) shot group of each class.
        """

    def scores(self) -> Fractions:
        """Returns (C, 3) precision, recall and F1 of each class; nan for 0 / 0."""


def counted(labels: NDArray[Any], predicted: NDArray[Any], classes: int) -> Counted:
    """Returns the counts of predictions. labels, predicted: (N,) classes, or (N, C) bool for several labels per image."""
    return OneLabel(labels, predicted, classes) if labels.ndim == 1 else SeveralLabels(labels, predicted)


def of_groups(run: Counted, groups: Integers) -> Fractions:
    """Returns (3, 4) means of `Counted.grouped` over the classes of each shot group; nan for a group without test images.

    groups: (C,) shot group of each class.
    """
    shares, means = run.grouped(groups), np.full((len(GROUPS), 4), np.nan)
    for group in range(len(GROUPS)):
        some = shares[(groups == group) & (run.support > 0)]
        if len(some):
            means[group] = some.mean(0)
    return means


@dataclass(frozen=True, eq=False)
class OneLabel:
    """labels, predicted: (N,) classes. The shares of a row add up to 1."""

    labels: Integers
    predicted: Integers
    classes: int

    @cached_property
    def support(self) -> Integers:
        return np.bincount(self.labels, minlength=self.classes)

    @cached_property
    def _by_label(self) -> tuple[Integers, Integers]:
        """(N,) predictions, label by label, and the (C,) ends of the labels in them."""
        return self.predicted[np.argsort(self.labels, kind="stable")], np.cumsum(self.support)

    def row(self, label: int) -> Fractions:
        predicted, ends = self._by_label
        counts = np.bincount(predicted[ends[label - 1] if label else 0 : ends[label]], minlength=self.classes)
        return _by_row(counts[None])[0]

    def grouped(self, groups: Integers) -> Fractions:
        column = np.where(self.labels == self.predicted, 0, 1 + groups[self.predicted])
        return _by_row(np.bincount(self.labels * 4 + column, minlength=self.classes * 4).reshape(-1, 4))

    def scores(self) -> Fractions:
        right = np.bincount(self.labels[self.labels == self.predicted], minlength=self.classes)
        return _of_counts(right, np.bincount(self.predicted, minlength=self.classes), self.support)


@dataclass(frozen=True, eq=False)
class SeveralLabels:
    """labels, predicted: (N, C) bool.

    A row's share at its own label is the recall; elsewhere, of the images in which a class is predicted without being a label.
    An image counts in the row of each of its labels and may have several wrong classes or none, so rows do not add up to 1.
    """

    labels: NDArray[np.bool_]
    predicted: NDArray[np.bool_]

    @cached_property
    def support(self) -> Integers:
        return np.asarray(self.labels.sum(0))

    def row(self, label: int) -> Fractions:
        some = self.labels[:, label]
        predicted = self.predicted[some]
        counts = (predicted & ~self.labels[some]).sum(0)
        counts[label] = predicted[:, label].sum()
        return np.divide(counts, len(predicted), out=np.full(counts.shape, np.nan), where=len(predicted) > 0)

    def grouped(self, groups: Integers) -> Fractions:
        wrong = self.predicted & ~self.labels
        by_group = np.stack([wrong[:, groups == group].any(1) for group in range(len(GROUPS))], axis=1)
        each = [by_group[self.labels[:, c]].sum(0) for c in range(len(groups))]
        counts = np.column_stack([(self.labels & self.predicted).sum(0), each])
        there = self.support[:, None]
        return np.divide(counts, there, out=np.full(counts.shape, np.nan), where=there > 0)

    def scores(self) -> Fractions:
        return _of_counts((self.labels & self.predicted).sum(0), self.predicted.sum(0), self.support)


def _by_row(counts: Integers) -> Fractions:
    """Returns the counts as fractions of the sum of their row; nan for a row of zeros."""
    sums = counts.sum(1, keepdims=True)
    return np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)


def _of_counts(right: Integers, taken: Integers, there: Integers) -> Fractions:
    """Returns (C, 3) precision, recall and F1. right, taken, there: (C,) true positives, predictions, labels."""
    above = np.stack([right, right, 2 * right], axis=1)
    below = np.stack([taken, there, taken + there], axis=1)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
