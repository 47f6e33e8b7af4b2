"""Random parts of files that a store keeps while it reads them: a crop of a photograph, frames of a video."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


class Crop(Protocol):
    """A random crop of a whole photograph. size: pixels of a side of the result. interpolation: of its scaling."""

    @property
    def size(self) -> int: ...
    @property
    def interpolation(self) -> Literal["bilinear", "bicubic"]: ...
    def box(self, height: int, width: int, draws: NDArray[np.float64]) -> tuple[int, int, int, int]:
        """Returns top, left, height and width of the part to keep. draws: (40,) uniform numbers from 0 to below 1."""


class Frames(Protocol):
    """A random choice of the frames of a video. count: number of frames that it draws."""

    @property
    def count(self) -> int: ...
    def rows(self, frames: int, draws: NDArray[np.float64]) -> NDArray[np.int64]:
        """Returns (count,) numbers of frames, in order. draws: (count,) uniform numbers from 0 to below 1."""
