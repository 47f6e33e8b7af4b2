"""Choices of the frames of a video: drawn at random for training, evenly spaced for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RandomFrames:
    """`count` frames of a video, drawn uniformly with replacement and sorted by time (Zhang et al., 2021, arXiv 2105.02668)."""

    count: int

    def rows(self, frames: int, draws: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns (count,) numbers of frames, in order. draws: (count,) uniform numbers from 0 to below 1."""
        return np.sort((draws * frames).astype(np.int64))


def evenly(frames: int, count: int) -> NDArray[np.int64]:
    """Returns (count,) numbers of frames from the first to the last in equal steps, rounded down, as VideoLT's code has them.

    A video of fewer frames than `count` repeats frames.
    """
    return np.linspace(0, frames - 1, count).astype(np.int64)
