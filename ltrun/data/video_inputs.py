"""Features of videos that a command line names, read batch by batch as the videos of a run are for its evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.data.frames import evenly
from ltrun.data.inputs import Decoded
from ltrun.data.videos import header_of


def features_of(paths: Sequence[Path], frames: int, width: int, batch: int) -> Iterator[Decoded]:
    """Yields the videos in order, `batch` at a time: (B, frames, width) float32, evenly spaced frames of each file."""
    for first in range(0, len(paths), batch):
        some = paths[first : first + batch]
        found, reasons = np.zeros((len(some), frames, width), dtype=np.float32), dict[int, str]()
        for row, path in enumerate(some):
            read = _read(path, frames, width)
            if isinstance(read, str):
                reasons[row] = read
            else:
                found[row] = read
        yield Decoded(torch.from_numpy(found), first, reasons)


def _read(path: Path, frames: int, width: int) -> NDArray[np.float32] | str:
    """Returns (frames, width) features of a file, or in words why it has none."""
    header = header_of(path)
    if isinstance(header, str):
        return header
    if header.shape[1] != width:
        return f"holds features of {header.shape[1]:,} numbers, and the run's have {width:,}: give features of the same network"
    try:
        found = np.load(path, allow_pickle=False)[evenly(header.shape[0], frames)].astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        return f"cannot be read ({error})"
    return found if np.isfinite(found).all() else "holds numbers that are not finite"
