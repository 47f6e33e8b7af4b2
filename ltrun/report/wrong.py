"""Wrong predictions of a run: its misclassified test images, most confident first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltrun.config.rows import rows_of
from ltrun.errors import ConfigError, did_you_mean
from ltrun.results.predictions import predictions_of
from ltrun.results.record import RunRecord

NO_LOGITS = {"ltrun.posthoc.NCM": "distances or cosines"}  # class of a predictor -> its scores, which are not logits


@dataclass(frozen=True)
class Wrong:
    """A misclassified image. row: its row in the test split. image: its name, None if the run kept no names.

    probability: of the predicted class. of_label: of the right class.
    """

    row: int
    image: str | None
    label: str
    predicted: str
    probability: float
    of_label: float

    @property
    def name(self) -> str:
        return f"row {self.row}" if self.image is None else self.image


@dataclass(frozen=True)
class Mistakes:
    """Wrong images of one predictor, most confident first.

    label: the only class examined, or None for all. images: the number of its test images. notes: sentences on how to read the
    probabilities and names.
    """

    record: RunRecord
    predictor: str
    found: tuple[Wrong, ...]
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
        of = f" of class {self.label}" if self.label is not None else ""
        share = f" ({100 * len(self.found) / self.images:.1f}%)" if self.images else ""
        return f"{len(self.found):,} of {self.images:,} test images{of} are wrong{share}"

    def first(self, count: int | None) -> tuple[Wrong, ...]:
        return self.found[:count]


def mistakes_of(record: RunRecord, folder: Path, predictor: str | None = None, label: str | None = None) -> Mistakes:
    """Returns the wrong images of a run. predictor: None for the method's headline. label: examine only images of this class.

    Raises ConfigError for a predictor or class that the run does not have, and DataError if its predictions cannot be read.
    """
    predictor, names = predictor or record.headline, record.classes["names"]
    if label is not None and label not in names:
        raise ConfigError(f"--class: the run has no class '{label}'{did_you_mean(label, names)}")
    read = predictions_of(record, folder, predictor)
    asked = np.ones(len(read.labels), bool) if label is None else read.labels == names.index(label)
    rows = np.flatnonzero(asked & (read.predicted != read.labels))
    sure, right = read.probabilities(rows, read.predicted[rows]), read.probabilities(rows, read.labels[rows])
    found = [
        Wrong(
            row=int(rows[i]),
            image=None if read.files is None else str(read.files[rows[i]]),
            label=names[read.labels[rows[i]]],
            predicted=names[read.predicted[rows[i]]],
            probability=float(sure[i]),
            of_label=float(right[i]),
        )
        for i in np.argsort(-sure, kind="stable")
    ]
    notes = tuple(_notes(record, predictor, read.files is not None))
    return Mistakes(record, predictor, tuple(found), int(asked.sum()), label, notes)


def by_pair(wrong: tuple[Wrong, ...]) -> dict[tuple[str, str], tuple[Wrong, ...]]:
    """Returns (label, predicted) -> wrong images, the pair with the most images first."""
    pairs: dict[tuple[str, str], list[Wrong]] = {}
    for each in wrong:
        pairs.setdefault((each.label, each.predicted), []).append(each)
    ordered = sorted(pairs.items(), key=lambda item: (-len(item[1]), -item[1][0].probability))
    return {pair: tuple(images) for pair, images in ordered}


def _notes(record: RunRecord, predictor: str, named: bool) -> Iterator[str]:
    part = _target(record.config, predictor)
    if part in NO_LOGITS:
        yield f"Probabilities are the softmax of {NO_LOGITS[part]}, not of logits: trust their order, not their size"
    elif part and not part.startswith("ltrun."):
        yield f"Probabilities are the softmax of the scores of {part}, whether or not those are logits"
    else:
        yield "Probabilities are the softmax of the scores"
    if not named:
        yield "This run kept no names of files: images are named by their rows in the test split"


def _target(config: Mapping[str, Any], predictor: str) -> str | None:
    """Returns the class of a post-hoc predictor; None for the network's own prediction, and if the record names no class."""
    try:
        _, part = rows_of(config.get("posthoc")).get(predictor, ("", None))
    except ConfigError:  # the record is of another version, or written by hand
        return None
    target = part.get("_target_") if isinstance(part, Mapping) else None
    return target if isinstance(target, str) else None
