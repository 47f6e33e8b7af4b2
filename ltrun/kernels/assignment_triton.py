"""The linear assignment problem in one Triton program: shortest augmenting paths, row by row (Jonker and Volgenant, 1987).

Vectors over the C columns lie in registers, so that a step along a path takes one read of a row of costs and two reductions.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def assign(scores: Tensor) -> Tensor:
    """(C,) int64: the column of each row of scores (C, C) for which the sum of scores is largest."""
    classes = len(scores)
    costs, columns = (
        scores.float().nan_to_num().neg().contiguous(),
        torch.empty(classes, dtype=torch.int64, device=scores.device),
    )
    block = triton.next_power_of_2(classes)
    _assign[(1,)](costs, columns, classes, BLOCK=block, num_warps=min(32, max(1, block // 128)))
    return columns


@triton.jit
def _assign(costs, columns, classes, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """price: dual values of columns. row_of, column_of: the assignment so far, -1 where there is none."""
    at = tl.arange(0, BLOCK)
    price = tl.zeros([BLOCK], tl.float32)
    row_of = tl.full([BLOCK], -1, tl.int32)
    column_of = tl.full([BLOCK], -1, tl.int32)
    for row in range(classes):
        shortest = tl.full([BLOCK], float("inf"), tl.float32)
        before = tl.full([BLOCK], -1, tl.int32)  # the row ahead of each column on its shortest path
        free = (at < classes).to(tl.int32)  # columns whose distance is not final yet
        here = tl.full((), 0, tl.int32) + row
        offset = tl.full((), 0, tl.float32)  # the distance of `here` less its dual value
        reached = offset
        column = here
        while here >= 0:
            cost = tl.load(costs + here.to(tl.int64) * classes + at, mask=at < classes, other=float("inf"))
            length = cost - price + offset
            better = (free == 1) & (length < shortest)
            shortest = tl.where(better, length, shortest)
            before = tl.where(better, here, before)
            reached, column = tl.min(tl.where(free == 1, shortest, float("inf")), axis=0, return_indices=True)
            free = tl.where(at == column, 0, free)
            here = tl.sum(tl.where(at == column, row_of, 0), axis=0)
            matched = tl.load(costs + tl.maximum(here, 0).to(tl.int64) * classes + column)
            offset = reached - (matched - tl.sum(tl.where(at == column, price, 0.0), axis=0))
        price = tl.where((at < classes) & (free == 0), price + shortest - reached, price)
        while column >= 0:
            owner = tl.sum(tl.where(at == column, before, 0), axis=0)
            row_of = tl.where(at == column, owner, row_of)
            left = tl.sum(tl.where(at == owner, column_of, 0), axis=0)
            column_of = tl.where(at == owner, column, column_of)
            column = left
    tl.store(columns + at, column_of.to(tl.int64), mask=at < classes)
