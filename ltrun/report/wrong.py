"""Wrong predictions of a run: its misclassified test images, or those with missed or false labels, most confident first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltrun.config.rows import rows_of
from ltrun.errors import ConfigError, did_you_mean
from ltrun.metrics import SINGLE_LABEL
from ltrun.report.mistakes import Likely, Mistake, Wrong, WrongLabels
from ltrun.results.predictions import Predictions, predictions_of
from ltrun.results.record import RunRecord

NO_LOGITS = {"ltrun.posthoc.NCM": "distances or cosines"}  # class of a predictor -> its scores, which are not logits


@dataclass(frozen=True)
class Mistakes:
    """Wrong images of one predictor, most confident first.

    label: the only class examined, or None for all. images: the number of its test images; of several labels, the images that
    have it or are predicted to. notes: sentences on how to read the probabilities and names.
    """

    record: RunRecord
    predictor: str
    found: tuple[Mistake, ...]
    images: int
    label: str | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        run = f"{self.record.label} on {self.record.dataset}, seed {self.record.seed}"
        return run if self.predictor == "plain" else f"{run}, predictor {self.predictor}"

    @property
    def summary(self) -> str:
        """`23 of 250 test images are wrong (9.2%)`."""
        share = f" ({100 * len(self.found) / self.images:.1f}%)" if self.images else ""
        if self.kind is Wrong:
            of = f" of class {self.label}" if self.label is not None else ""
            return f"{len(self.found):,} of {self.images:,} test images{of} are wrong{share}"
        of = f" with class {self.label}, or predicted so," if self.label is not None else ""
        missed, false = (sum(bool(getattr(each, kind)) for each in self.found) for kind in ("missed", "false"))
        each = f": {missed:,} miss a label, {false:,} have a false one" if self.found else ""
        return f"{len(self.found):,} of {self.images:,} test images{of} are wrong{share}{each}"

    @property
    def kind(self) -> type[Mistake]:
        return Wrong if self.record.task == SINGLE_LABEL else WrongLabels

    def first(self, count: int | None) -> tuple[Mistake, ...]:
        return self.found[:count]


def mistakes_of(record: RunRecord, folder: Path, predictor: str | None = None, label: str | None = None) -> Mistakes:
    """Returns the wrong images of a run. predictor: None for the method's headline. label: examine only images of this class.

    Raises ConfigError for a predictor or class that the run does not have, and DataError if its predictions cannot be read.
    """
    predictor, names = predictor or record.headline, record.classes["names"]
    if label is not None and label not in names:
        raise ConfigError(f"--class: the run has no class '{label}'{did_you_mean(label, names)}")
    read = predictions_of(record, folder, predictor)
    asked = None if label is None else names.index(label)
    found, images = (_wrong_labels if read.several else _wrong)(read, names, asked)
    notes = tuple(_notes(record, predictor, read))
    return Mistakes(record, predictor, tuple(found), images, label, notes)


def _wrong(read: Predictions, names: Sequence[str], label: int | None) -> tuple[list[Wrong], int]:
    """Returns the images whose prediction is not their label, and the number of images. label: of the images; None for all."""
    asked = np.ones(len(read.labels), bool) if label is None else read.labels == label
    rows = np.flatnonzero(asked & (read.predicted != read.labels))
    sure, right = read.probabilities(rows, read.predicted[rows]), read.probabilities(rows, read.labels[rows])
    found = [
        Wrong(
            row=int(rows[i]),
            image=read.name(rows[i]),
            label=names[read.labels[rows[i]]],
            predicted=names[read.predicted[rows[i]]],
            probability=float(sure[i]),
            of_label=float(right[i]),
        )
        for i in np.argsort(-sure, kind="stable")
    ]
    return found, int(asked.sum())


def _wrong_labels(read: Predictions, names: Sequence[str], label: int | None) -> tuple[list[WrongLabels], int]:
    """Returns the images with missed or false labels, and the number of images. label: the only class that counts."""
    wrong = read.predicted != read.labels
    if label is not None:
        wrong &= np.arange(len(names)) == label
    found = []
    for row in np.flatnonzero(wrong.any(1)).tolist():
        classes = np.flatnonzero(wrong[row])
        shares = read.probabilities(np.full_like(classes, row), classes)
        each = [(Likely(names[c], p), read.labels[row, c]) for c, p in zip(classes.tolist(), shares.tolist(), strict=True)]
        missed = sorted((one for one, there in each if there), key=lambda one: one.probability)
        false = sorted((one for one, there in each if not there), key=lambda one: -one.probability)
        true = tuple(names[c] for c in np.flatnonzero(read.labels[row]).tolist())
        found.append(WrongLabels(row, read.name(row), true, tuple(missed), tuple(false)))
    images = len(read.labels) if label is None else int((read.labels[:, label] | read.predicted[:, label]).sum())
    return sorted(found, key=lambda image: -image.probability), images


def by_pair(wrong: tuple[Mistake, ...]) -> dict[tuple[str, str], tuple[Mistake, ...]]:
    """Returns (label, predicted), or (missed or false, class), -> wrong images, the pair with the most images first."""
    pairs: dict[tuple[str, str], list[Mistake]] = {}
    for each in wrong:
        pairs.setdefault(each.kind, []).append(each)
    ordered = sorted(pairs.items(), key=lambda item: (-len(item[1]), -item[1][0].probability))
    return {pair: tuple(images) for pair, images in ordered}


def _notes(record: RunRecord, predictor: str, read: Predictions) -> Iterator[str]:
    part = _target(record.config, predictor)
    kind = "sigmoid" if read.several else "softmax"
    if part in NO_LOGITS:
        yield f"Probabilities are the {kind} of {NO_LOGITS[part]}, not of logits: trust their order, not their size"
    elif part and not part.startswith("ltrun."):
        yield f"Probabilities are the {kind} of the scores of {part}, whether or not those are logits"
    else:
        yield f"Probabilities are the {kind} of the scores"
    if read.several:
        yield "A class is predicted where its probability is above one half"
    if read.files is None:
        yield "This run kept no names of files: images are named by their rows in the test split"


def _target(config: Mapping[str, Any], predictor: str) -> str | None:
    """Returns the class of a post-hoc predictor; None for the network's own prediction, and if the record names no class."""
    try:
        _, part = rows_of(config.get("posthoc")).get(predictor, ("", None))
    except ConfigError:  # the record is of another version, or written by hand
        return None
    target = part.get("_target_") if isinstance(part, Mapping) else None
    return target if isinstance(target, str) else None
