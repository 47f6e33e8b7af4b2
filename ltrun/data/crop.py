"""Random crops of whole photographs, cut where the photographs are decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ltrun.parts import Crop, Frames

C = TypeVar("C", bound=Crop | Frames)
Interpolation = Literal["bilinear", "bicubic"]
Box = tuple[int, int, int, int]  # top, left, height, width

TRIES = 10
DRAWS = 4 * TRIES  # uniform numbers for a box
STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class RandomCrop:
    """A box with a share of the area from `scale` and an aspect from `ratio`, scaled to `size` x `size` with antialiasing.

    The box is the first of ten draws that fits into the photograph, else the largest centre box whose aspect `ratio` allows
    (Szegedy et al., 2015, arXiv 1409.4842, as torchvision's RandomResizedCrop draws it).
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"

    def box(self, height: int, width: int, draws: NDArray[np.float64]) -> Box:
        """Returns the box in a photograph of this size. draws: (DRAWS,) uniform numbers from 0 to below 1."""
        low, high = (math.log(end) for end in self.ratio)
        for area, aspect, down, right in draws.reshape(TRIES, 4):
            pixels = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            shape = math.exp(low + aspect * (high - low))
            box_width, box_height = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
            if 0 < box_width <= width and 0 < box_height <= height:
                top, left = int(down * (height - box_height + 1)), int(right * (width - box_width + 1))
                return top, left, box_height, box_width
        box_height, box_width = height, width
        if width / height < self.ratio[0]:
            box_height = max(1, round(width / self.ratio[0]))
        elif width / height > self.ratio[1]:
            box_width = max(1, round(height * self.ratio[1]))
        return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


@dataclass(frozen=True)
class SideCrop:
    """A box whose sides are shares of the photograph's, each from `smallest` to 1, scaled to `size` x `size` with antialiasing.

    The box is the first of ten draws that is at most twice as long as wide, else the whole photograph; its aspect is lost.
    """

    size: int
    smallest: float = 0.8
    interpolation: Interpolation = "bilinear"

    def box(self, height: int, width: int, draws: NDArray[np.float64]) -> Box:
        """Returns the box in a photograph of this size. draws: (DRAWS,) uniform numbers from 0 to below 1."""
        for tall, wide, down, right in draws.reshape(TRIES, 4):
            rows = height * (self.smallest + tall * (1 - self.smallest))
            columns = width * (self.smallest + wide * (1 - self.smallest))
            if columns / 2 <= rows <= 2 * columns:
                top, left = down * (height - rows), right * (width - columns)
                return int(top), int(left), max(1, int(top + rows) - int(top)), max(1, int(left + columns) - int(left))
        return 0, 0, height, width


class Draws(NamedTuple, Generic[C]):
    """Random crops of the photographs of a batch, or frames of its videos. keys: (B,) uint64, from which the draws of each row
    follow."""

    crop: C
    keys: NDArray[np.uint64]

    def take(self, rows: slice) -> Draws[C]:
        return Draws(self.crop, self.keys[rows])


def drawn(crop: C, seed: int, plan: Sequence[Tensor]) -> list[Draws[C]]:
    """Returns the crops of the batches of an epoch. plan: the row numbers of each batch.

    The draws of a crop depend on the seed, the row and how often the row came before in the epoch: not on the process that
    reads it, and a repeated photograph is cut anew.
    """
    rows = torch.cat(list(plan)).cpu().numpy()
    with np.errstate(over="ignore"):
        of_rows = _mixed(np.uint64(seed) + rows.astype(np.uint64) * STEP)
        keys = _mixed(of_rows + occurrences(rows).astype(np.uint64))
    ends = np.cumsum([len(some) for some in plan])
    return [Draws(crop, some) for some in np.split(keys, ends[:-1])]


def occurrences(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns (N,) how often each row stands earlier in the array."""
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(rows) else np.zeros(0, np.int64)
    found = np.empty(len(rows), dtype=np.int64)
    found[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    return found


def uniform(keys: NDArray[np.uint64], count: int = DRAWS) -> NDArray[np.float64]:
    """Returns (N, count) numbers from 0 to below 1, a function of the (N,) keys: splitmix64 from each key on.

    Steele et al., 2014, Fast splittable pseudorandom number generators, OOPSLA.
    """
    with np.errstate(over="ignore"):
        states = keys[:, None] + np.arange(1, count + 1, dtype=np.uint64) * STEP
        return (_mixed(states) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    state = np.asarray(state, dtype=np.uint64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)
