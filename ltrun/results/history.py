"""metrics.jsonl and predictions.npz: what a run writes besides its record.

predictions.npz has a row for each image of the test split, in the order of the split: test_labels (N,) int64, test_files (N,)
names of the images (of a folder, paths below dataset.root), and test_scores_<predictor> (N, C) float32.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from ltrun.errors import ConfigError
from ltrun.results.atomic import append, write_atomically


class History:
    """metrics.jsonl: a line an epoch. A resumed run first drops the lines from the epoch that it is about to repeat."""

    def __init__(self, folder: Path, tensorboard: bool):
        self.path, self.begun = folder / "metrics.jsonl", False
        self.writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ConfigError("runtime.tensorboard=true needs TensorBoard: pip install 'ltrun[tensorboard]'") from None
            self.writer = SummaryWriter(str(folder / "tensorboard"))

    def append(self, row: Mapping[str, Any]) -> None:
        if not self.begun:
            old = self.path.read_text(errors="replace").splitlines() if self.path.is_file() else []
            kept = takewhile(lambda line: _epoch_of(line) not in (None, (row["stage"], row["epoch"])), old)
            write_atomically(self.path, "".join(line + "\n" for line in kept).encode())
            self.begun = True
        append(self.path, json.dumps(row) + "\n")
        if self.writer is not None:
            self._plot(row)

    def _plot(self, row: Mapping[str, Any]) -> None:
        for name in ("loss", "learning_rate"):
            self.writer.add_scalar(f"{row['stage']}/{name}", row[name], row["epoch"])
        for split, metrics in row.get("evaluation", {}).items():
            for name, value in metrics.items():
                if value is not None:
                    self.writer.add_scalar(f"{row['stage']}/{split}/{name}", value, row["epoch"])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _epoch_of(line: str) -> tuple[str, int] | None:
    """Stage and epoch of a line, or None for one that a kill cut short."""
    try:
        row = json.loads(line)
        return row["stage"], row["epoch"]
    except (ValueError, KeyError, TypeError):
        return None


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
