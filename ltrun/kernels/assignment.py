"""Assignment of rows to columns that maximises the sum of their scores, on the device that holds the scores.

On a CPU SciPy solves it. On CUDA a Triton kernel does, because a host that waits for scores could not capture the step.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("ltrun::assignment", mutates_args=(), device_types="cpu")
def assignment(scores: Tensor) -> Tensor:
    """(C,) int64: the column of each row of scores (C, C), all different, so that the sum of their scores is largest."""
    from scipy.optimize import linear_sum_assignment

    columns = linear_sum_assignment(scores.nan_to_num().double().numpy(), maximize=True)[1]
    return torch.from_numpy(columns).long()


@assignment.register_kernel("cuda")
def _(scores: Tensor) -> Tensor:
    from ltrun.kernels.assignment_triton import assign

    return assign(scores)


@assignment.register_fake
def _(scores: Tensor) -> Tensor:
    return scores.new_empty(len(scores), dtype=torch.int64)
