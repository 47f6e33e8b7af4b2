"""Files that a run writes besides its record: metrics.jsonl and predictions.npz.

predictions.npz has a row for each image of the test split, in the order of the split: test_labels (N,) int64, or (N, C)
with 1 for each label of images that may have several, test_files (N,) names of the images (paths below dataset.root for image
folders), and test_scores_<predictor> (N, C) float32.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from ltrun.results.address import EPOCHS
from ltrun.results.atomic import append, write_atomically
from ltrun.results.curves import Curves


class History:
    """The file metrics.jsonl, a line for each epoch. A resumed run first drops the lines from the first epoch that it repeats.

    tensorboard: whether to draw curves of the lines, too. Raises ConfigError if TensorBoard is not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool):
        self.path, self.begun = folder / EPOCHS, False
        self.curves = Curves(folder / "tensorboard") if tensorboard else None

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes the line of an epoch with the time, in seconds since 1970. Raises TrainingError if it cannot be written."""
        row = {**row, "time": round(time.time(), 2)}
        if not self.begun:
            old = self.path.read_text("utf-8", errors="replace").splitlines() if self.path.is_file() else []
            kept = list(takewhile(lambda line: _epoch_of(line) not in (None, (row["stage"], row["epoch"])), old))
            write_atomically(self.path, "".join(line + "\n" for line in kept).encode())
            self.begun = True
            if self.curves is not None:
                self.curves.begin(map(json.loads, kept))
        append(self.path, json.dumps(row) + "\n")
        if self.curves is not None:
            self.curves.draw(row)


def _epoch_of(line: str) -> tuple[str, int] | None:
    """Returns stage and epoch of a line, or None for a line that a kill cut short."""
    try:
        row = json.loads(line)
        return row["stage"], row["epoch"]
    except (ValueError, KeyError, TypeError):
        return None


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays as an npz file, without a copy in memory."""
    write_atomically(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
