"""Test images of a recorded run, where its data set is at hand and has not changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.data.identity import Listing
from ltrun.data.source import Splits
from ltrun.errors import ConfigError
from ltrun.recipe.read import source_of, task_in
from ltrun.results.identity import differences
from ltrun.results.record import RunRecord


@dataclass(frozen=True, eq=False)
class TestImages:
    """The test split of a run. node: the data set's part of the configuration, as opened here."""

    splits: Splits
    node: Mapping[str, Any]

    @classmethod
    def of(cls, record: RunRecord, root: Path | None = None, plugins: Sequence[str] = ()) -> TestImages:
        """Opens the data set of a record; nothing is downloaded, and photos are decoded only when they are asked for.

        root: where its images are now, if elsewhere. Raises LtrunError if they are missing, or are not the run's.
        """
        dataset = record.config.get("dataset")
        if not isinstance(dataset, Mapping):
            raise ConfigError("the record does not name its data set")
        changed = {"download": False, "streamed": True, "workers": 0}
        node = dict(dataset) | {key: value for key, value in changed.items() if key in dataset}
        node |= {"root": str(root)} if root else {}
        splits = source_of({"dataset": node}, plugins).build({"task": task_in(node)}).open(torch.device("cpu"))
        images = record.predictors[record.headline]["splits"]["test"]["images"]
        if len(splits.test) != images or list(splits.names) != list(record.classes["names"]):
            raise ConfigError("the data set has another test split than the run had")
        if told := differences(record.data, Listing.of(splits).data).get("test"):
            raise ConfigError(f"the data set has changed: {told}")
        return cls(splits, node)

    def labels(self, rows: NDArray[np.int64]) -> list[frozenset[str]]:
        """Returns the names of the labels of rows of the test split."""
        names, found = self.splits.names, self.splits.test.targets.labels[torch.from_numpy(rows)].cpu()
        if found.ndim == 1:
            return [frozenset({names[label]}) for label in found.tolist()]
        return [frozenset(names[c] for c in row.nonzero().flatten().tolist()) for row in found]

    def inputs(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Returns (R, channels, H, W) uint8 stored images of rows, or (R, frames, D) float32 features. Raises DataError."""
        found = next(iter(self.splits.test.open([torch.from_numpy(rows)]))).inputs
        return found.float() if found.is_floating_point() else found

    def pixels(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Returns (R, channels, H, W) uint8 stored images of rows. Raises DataError, also for inputs that are no images."""
        found = self.inputs(rows)
        if found.ndim != 4:
            raise ConfigError("the data set holds features of videos, which have no pictures")
        return found
