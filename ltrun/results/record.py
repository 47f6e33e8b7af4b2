"""The record of a run: the content of result.json. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from ltrun.errors import ConfigError, DataError, did_you_mean
from ltrun.metrics import SINGLE_LABEL
from ltrun.results.address import RESULT, fingerprint, labelled
from ltrun.results.atomic import write_atomically
from ltrun.results.renamed import with_todays_names
from ltrun.results.schema import FORMAT, LARGEST, Unknown, read
from ltrun.results.upgrade import upgrade


class Predictor(TypedDict):
    """The results of one predictor. sees: the splits whose inputs it saw. splits: split -> metrics on it.

    Metrics: the metrics that metrics.py declares for the task, None for a group without classes; per_class, C fractions or
    None, of several labels the average precisions, beside per_class_precision, per_class_recall, per_class_f1 and positives,
    the number of images with each class; images; and any metric that another version of ltrun measured.
    """

    sees: list[str]
    splits: dict[str, dict[str, Any]]


EXPERT = "expert "  # begins the names of the predictors that are single experts of an ensemble, which no post-hoc part can have


class Classes(TypedDict):
    """The classes of a data set, in label order. counts: training images of each class; an image may be of several."""

    names: list[str]
    counts: list[int]


class StageTime(TypedDict):
    name: str
    epochs: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of result.json. A run writes it last: if the file exists, the run is done.

    dataset, method, task: names. changes: overrides relative to the method's preset, {"reweighting": "none",
    "dataset.imbalance": 50}. choices: slot -> option. config: the resolved configuration. fingerprint: see `fingerprint`.
    headline: the predictor whose numbers are the method's. selection: the model that was evaluated, "last" or "best_val".
    command: the words after `ltrun` that train this run alone, without force; [] in formats 1 and 2. data: the `Identity` of
    the data; {} in formats 1 and 2. path: the file of the record; not part of the content.
    """

    dataset: str
    method: str
    task: str = SINGLE_LABEL
    changes: Mapping[str, Any]
    choices: Mapping[str, str]
    config: Mapping[str, Any]
    seed: int
    fingerprint: str
    headline: str
    selection: str
    predictors: Mapping[str, Predictor]
    classes: Classes
    stages: list[StageTime]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = field(default_factory=list)
    data: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    path: Path | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The method with its changes, slots first: `ldam_drw [reweighting=none, epochs=3]`."""
        return labelled(self.method, self.changes)

    @property
    def training_images(self) -> int | None:
        """The number of training images; None for images with several labels, if the record does not identify its data."""
        if self.task == SINGLE_LABEL:
            return sum(self.classes["counts"])
        images = self.data.get("splits", {}).get("train", {}).get("images")
        return images if isinstance(images, int) else None

    def without_experts(self) -> RunRecord:
        """Returns the record without the predictors that are single experts of an ensemble."""
        kept = {name: predictor for name, predictor in self.predictors.items() if not name.startswith(EXPERT)}
        return self if len(kept) == len(self.predictors) else replace(self, predictors=kept)

    def check_predictor(self, name: str, key: str = "") -> None:
        """Raises ConfigError for a predictor that the run does not have, and for a single expert. key: begins the sentence."""
        known = self.without_experts().predictors
        if name in self.predictors.keys() - known:
            ways = ", ".join(known)
            raise ConfigError(f"{key}'{name}' is a part of the ensemble, which predicts as a whole; name one of {ways}")
        if name not in known:
            raise ConfigError(f"{key}the run has no predictor '{name}'{did_you_mean(name, known)}")

    def content(self) -> dict[str, Any]:
        """Returns the content of the file."""
        return {key: value for key, value in asdict(self).items() if key != "path"}

    def save(self, folder: Path) -> Path:
        """Writes folder/result.json atomically, and returns its path. Raises TrainingError if it cannot be written."""
        data = json.dumps(self.content(), indent=1, allow_nan=False).encode()
        read(data)  # a record that `load` would refuse must not count as a finished run
        write_atomically(folder / RESULT, data + b"\n")
        return folder / RESULT

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Reads a record. Upgrades an earlier format to this one, with the fingerprint that the same run has today.

        Raises UnknownRecord for a record of a later version, and DataError for any other file that `save` did not write;
        both name the file.
        """
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        try:
            return cls.parse(data, path)
        except Unknown as error:
            raise UnknownRecord(f"{path} is a result that this ltrun cannot read ({error}): update ltrun to read it") from error
        except (ValueError, RecursionError, ConfigError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise DataError(
                f"{path} is damaged or not a result of ltrun ({reason}): move it away and train that run again"
            ) from error

    @classmethod
    def parse(cls, data: bytes, path: Path | None = None) -> RunRecord:
        """Reads a record from the bytes of a file. Raises Unknown; ValueError, RecursionError or ConfigError if damaged."""
        content = read(data)
        if content["format"] != FORMAT:
            content = upgrade(content)
            content["fingerprint"] = fingerprint(content["config"])
        return cls(**with_todays_names(content), path=path)


class UnknownRecord(DataError):
    """A record of a task or a format that this version does not know."""
