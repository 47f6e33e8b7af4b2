"""Triton kernels of batch normalisation, addition of a shortcut and ReLU.

Maps (B, C, H, W) are a table of B * H * W rows and C columns, whether the channels of a pixel lie side by side in memory or the
pixels of a channel. A program goes over tiles of ROWS x COLUMNS values; sums over all rows are made in two stages, without
atomics, so that a step has the same bits each time. Sizes of tiles are fixed, because a captured step cannot search.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096  # values of a tile
COLUMNS = 64  # most columns of a tile where channels lie side by side; one column where pixels do
SPLITS = 128  # most parts of the rows that programs sum up by themselves
PROGRAMS = 512  # most programs of a kernel without sums
WARPS = 8


class Plan(NamedTuple):
    """How kernels go over maps. each: tiles of a split. splits: parts of the rows. blocks: parts of the columns. side_by_side:
    whether the channels of a pixel are."""

    rows: int
    columns: int
    pixels: int
    side_by_side: bool
    tile_rows: int
    tile_columns: int
    each: int
    splits: int
    blocks: int

    @classmethod
    def of(cls, maps: Tensor) -> Plan:
        """Plans for dense maps in either layout."""
        batch, channels, height, width = maps.shape
        side_by_side = maps.is_contiguous(memory_format=torch.channels_last)
        count, columns = batch * height * width, min(triton.next_power_of_2(channels), COLUMNS) if side_by_side else 1
        rows, blocks = TILE // columns, triton.cdiv(channels, columns)
        tiles = triton.cdiv(count, rows)
        each = triton.cdiv(tiles, max(1, SPLITS // blocks))
        return cls(count, channels, height * width, side_by_side, rows, columns, each, triton.cdiv(tiles, each), blocks)

    @property
    def shape(self) -> tuple[int, ...]:
        """The last arguments of each kernel."""
        padded = triton.next_power_of_2(self.splits)
        return self.rows, self.each, self.columns, self.pixels, self.side_by_side, padded, self.tile_rows, self.tile_columns

    @property
    def sums(self) -> tuple[int, int]:
        """The grid of a kernel that sums."""
        return self.splits, self.blocks

    @property
    def values(self) -> tuple[int, int]:
        """The grid of a kernel that computes value by value."""
        tiles = triton.cdiv(self.rows, self.tile_rows)
        return min(tiles, max(1, PROGRAMS // self.blocks)), self.blocks


def forward(
    maps: Tensor,
    weight: Tensor,
    bias: Tensor,
    shortcut: Tensor | None,
    running: tuple[Tensor, Tensor],
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Returns relu(norm(maps) + shortcut), and (2, C) the mean of each channel and 1 over its standard deviation.

    running: running mean and unbiased variance (C,), which move by `momentum` to those of the batch.
    """
    maps = _dense(maps)
    plan, out = Plan.of(maps), torch.empty_like(maps)
    other = maps if shortcut is None else shortcut.contiguous(memory_format=_layout(maps))
    partial = maps.new_empty((2, plan.splits, plan.columns), dtype=torch.float32)
    saved = maps.new_empty((2, plan.columns), dtype=torch.float32)
    _moments[plan.sums](maps, partial, *plan.shape, num_warps=WARPS)
    _normalise[plan.values](
        maps, other, out, partial, weight, bias, *running, saved, momentum, eps, plan.splits,
        shortcut is not None, *plan.shape, num_warps=WARPS,
    )  # fmt: skip
    return out, saved


def backward(
    slope: Tensor, maps: Tensor, weight: Tensor, out: Tensor, saved: Tensor, adds: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of the shortcut, of the maps, of the weight and of the bias, from the gradient `slope` of `out`.

    Without a shortcut (adds=False) the first is `slope` itself.
    """
    maps = _dense(maps)
    plan, slope = Plan.of(maps), slope.contiguous(memory_format=_layout(maps))
    passed = torch.empty_like(maps) if adds else slope
    partial = maps.new_empty((2, plan.splits, plan.columns), dtype=torch.float32)
    found, outer = torch.empty_like(maps), torch.empty_like(saved)
    _slopes[plan.sums](slope, out, maps, passed, saved, partial, adds, *plan.shape, num_warps=WARPS)
    _inner[plan.values](
        passed, out, maps, found, weight, saved, partial, outer, plan.splits, adds, *plan.shape, num_warps=WARPS
    )
    return passed, found, outer[0], outer[1]


def _layout(maps: Tensor) -> torch.memory_format:
    side_by_side = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if side_by_side else torch.contiguous_format


def _dense(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=_layout(maps))


@triton.jit
def _places(rows, columns, C: tl.constexpr, PIXELS: tl.constexpr, SIDE_BY_SIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where values of the table lie in memory."""
    if SIDE_BY_SIDE:
        places = rows[:, None] * C + columns[None, :]
    else:
        places = (rows // PIXELS * (C * PIXELS) + rows % PIXELS)[:, None] + columns[None, :] * PIXELS
    return places


@triton.jit
def _merged(count, mean, spread):  # type: ignore[no-untyped-def]
    """Merges groups of rows, each with its number, mean and sum of squared deviations from it: Chan et al., 1979."""
    total = tl.sum(count, axis=0)
    centre = tl.sum(count * mean, axis=0) / tl.maximum(total, 1.0)
    apart = mean - centre[None, :]
    return centre, tl.sum(spread + count * apart * apart, axis=0)


@triton.jit
def _moments(  # type: ignore[no-untyped-def]
    maps, partial, count, each, C: tl.constexpr, PIXELS: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, SPLITS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Writes the mean of each column over the rows of a split, and the sum of squared deviations from it."""
    split, splits = tl.program_id(0), tl.num_programs(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    seen = tl.zeros([ROWS, 1], tl.float32)
    mean = tl.zeros([ROWS, COLUMNS], tl.float32)
    spread = tl.zeros([ROWS, COLUMNS], tl.float32)
    for tile in range(each):  # Welford's update: each row of the tile is a group of its own
        rows = (split * each + tile) * ROWS + tl.arange(0, ROWS)
        inside = (rows < count)[:, None]
        value = tl.load(
            maps + _places(rows, columns, C, PIXELS, SIDE_BY_SIDE), mask=inside & (columns < C)[None, :], other=0.0
        ).to(tl.float32)
        seen += tl.where(inside, 1.0, 0.0)
        apart = tl.where(inside, value - mean, 0.0)
        mean += apart / tl.maximum(seen, 1.0)
        spread += apart * (value - mean)
    centre, spread_of_all = _merged(seen, mean, spread)
    tl.store(partial + split * C + columns, centre, mask=columns < C)
    tl.store(partial + (splits + split) * C + columns, spread_of_all, mask=columns < C)


@triton.jit
def _normalise(  # type: ignore[no-untyped-def]
    maps, shortcut, out, partial, weight, bias, running_mean, running_var, saved, momentum, eps, splits, ADDS: tl.constexpr,
    count, each, C: tl.constexpr, PIXELS: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, SPLITS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Writes relu(norm(maps) + shortcut); the first program of a column also writes its statistics."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    known = columns < C
    split = tl.arange(0, SPLITS)
    held = tl.minimum(tl.maximum(count - split * (each * ROWS), 0), each * ROWS).to(tl.float32)
    cells, there = split[:, None] * C + columns[None, :], (split < splits)[:, None] & known[None, :]
    mean, spread = _merged(
        held[:, None],
        tl.load(partial + cells, mask=there, other=0.0),
        tl.load(partial + splits * C + cells, mask=there, other=0.0),
    )
    scale = 1.0 / tl.sqrt(spread / count + eps)
    if program == 0:
        tl.store(saved + columns, mean, mask=known)
        tl.store(saved + C + columns, scale, mask=known)
        old_mean = tl.load(running_mean + columns, mask=known, other=0.0)
        old_var = tl.load(running_var + columns, mask=known, other=0.0)
        tl.store(running_mean + columns, (1.0 - momentum) * old_mean + momentum * mean, mask=known)
        tl.store(running_var + columns, (1.0 - momentum) * old_var + momentum * (spread / (count - 1)), mask=known)
    scale *= tl.load(weight + columns, mask=known, other=0.0)
    shift = tl.load(bias + columns, mask=known, other=0.0)
    for tile in range(program, tl.cdiv(count, ROWS), programs):
        rows = tile * ROWS + tl.arange(0, ROWS)
        places = _places(rows, columns, C, PIXELS, SIDE_BY_SIDE)
        inside = (rows < count)[:, None] & known[None, :]
        value = tl.load(maps + places, mask=inside, other=0.0).to(tl.float32)
        value = (value - mean[None, :]) * scale[None, :] + shift[None, :]
        if ADDS:
            value += tl.load(shortcut + places, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + places, tl.where(value < 0.0, 0.0, value), mask=inside)  # nan stays nan, as in torch


@triton.jit
def _slopes(  # type: ignore[no-untyped-def]
    slope, out, maps, passed, saved, partial, ADDS: tl.constexpr,
    count, each, C: tl.constexpr, PIXELS: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, SPLITS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Writes sums over the rows of a split: the gradients that the ReLU lets pass times the normalised maps, and by themselves.

    With a shortcut, it also writes the gradients that pass: the shortcut's gradient.
    """
    split, splits = tl.program_id(0), tl.num_programs(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    known = columns < C
    mean = tl.load(saved + columns, mask=known, other=0.0)[None, :]
    scale = tl.load(saved + C + columns, mask=known, other=0.0)[None, :]
    along = tl.zeros([ROWS, COLUMNS], tl.float32)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for tile in range(each):
        rows = (split * each + tile) * ROWS + tl.arange(0, ROWS)
        places = _places(rows, columns, C, PIXELS, SIDE_BY_SIDE)
        inside = (rows < count)[:, None] & known[None, :]
        pull = tl.load(slope + places, mask=inside, other=0.0).to(tl.float32)
        pull = tl.where(tl.load(out + places, mask=inside, other=0.0) <= 0.0, 0.0, pull)
        if ADDS:
            tl.store(passed + places, pull, mask=inside)
        value = tl.load(maps + places, mask=inside, other=0.0).to(tl.float32)
        along += pull * (value - mean) * scale
        total += pull
    tl.store(partial + split * C + columns, tl.sum(along, axis=0), mask=known)
    tl.store(partial + (splits + split) * C + columns, tl.sum(total, axis=0), mask=known)


@triton.jit
def _inner(  # type: ignore[no-untyped-def]
    passed, out, maps, found, weight, saved, partial, outer, splits, PASSED: tl.constexpr,
    count, each, C: tl.constexpr, PIXELS: tl.constexpr, SIDE_BY_SIDE: tl.constexpr, SPLITS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Writes the gradient of the maps; the first program of a column also writes the gradients of its weight and bias.

    PASSED: whether `passed` has only gradients that the ReLU lets pass.
    """
    program, programs = tl.program_id(0), tl.num_programs(0)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    known = columns < C
    split = tl.arange(0, SPLITS)
    cells, there = split[:, None] * C + columns[None, :], (split < splits)[:, None] & known[None, :]
    along = tl.sum(tl.load(partial + cells, mask=there, other=0.0), axis=0)
    total = tl.sum(tl.load(partial + splits * C + cells, mask=there, other=0.0), axis=0)
    if program == 0:
        tl.store(outer + columns, along, mask=known)
        tl.store(outer + C + columns, total, mask=known)
    mean = tl.load(saved + columns, mask=known, other=0.0)
    scale = tl.load(saved + C + columns, mask=known, other=0.0)
    factor = scale * tl.load(weight + columns, mask=known, other=0.0)
    along, total = scale * along / count, total / count
    for tile in range(program, tl.cdiv(count, ROWS), programs):
        rows = tile * ROWS + tl.arange(0, ROWS)
        places = _places(rows, columns, C, PIXELS, SIDE_BY_SIDE)
        inside = (rows < count)[:, None] & known[None, :]
        pull = tl.load(passed + places, mask=inside, other=0.0).to(tl.float32)
        if not PASSED:
            pull = tl.where(tl.load(out + places, mask=inside, other=0.0) <= 0.0, 0.0, pull)
        value = tl.load(maps + places, mask=inside, other=0.0).to(tl.float32)
        pull = (pull - total[None, :] - (value - mean[None, :]) * along[None, :]) * factor[None, :]
        tl.store(found + places, pull, mask=inside)
