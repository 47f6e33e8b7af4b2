"""What a run leaves behind: its record, its address, and where its numbers came from. Nothing here needs torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ltrun.errors import DataError
from ltrun.results.address import RESULT, labelled
from ltrun.results.atomic import write_atomically
from ltrun.results.schema import FORMAT, LARGEST, read

MANY, FEW = 100, 20  # more training images than MANY, fewer than FEW; evaluation.many and evaluation.few override


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of result.json, which is written last: where it lies, the run is done.

    dataset, method: names. changes: what was overridden relative to the method's preset, {"reweighting": "none",
    "dataset.imbalance": 50}. choices: slot -> option. config: resolved. fingerprint: see `fingerprint`. headline: the
    predictor that stands for the method. selection: the model that was evaluated, "last" or "best_val".
    predictors: {name: {"sees": ["val", ...], "splits": {"test": metrics, ...}}}; metrics are accuracy, error, macro, many,
    medium, few and ece as fractions of 1 (None for a group without classes), per_class (C fractions or None) and images.
    classes: {"names": [...], "counts": training images}. stages: [{"name", "epochs", "seconds"}].
    """

    dataset: str
    method: str
    changes: Mapping[str, Any]
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    seed: int
    fingerprint: str
    headline: str
    selection: str
    predictors: Mapping[str, Any]
    classes: Mapping[str, Any]
    stages: list[dict[str, Any]]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def label(self) -> str:
        """The method and what was changed of it, slots first: `ldam_drw [reweighting=none, epochs=3]`."""
        return labelled(self.method, self.changes)

    def save(self, folder: Path) -> Path:
        """Writes folder/result.json whole or not at all. Raises TrainingError."""
        data = json.dumps(asdict(self), indent=1, allow_nan=False).encode()
        read(data)  # a record that `load` would refuse must not count as a finished run
        write_atomically(folder / RESULT, data + b"\n")
        return folder / RESULT

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Raises DataError, naming the file, for whatever `save` did not write."""
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        try:
            return cls(**read(data))
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
            raise DataError(
                f"{path} is damaged or not a result of ltrun ({reason}): move it away and train that run again"
            ) from error
