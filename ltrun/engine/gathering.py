"""Operations of several ranks in autograd: shares gathered into a batch, gradients averaged after a backward pass."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function, Variable


def shares(rows: int, world: int) -> list[slice]:
    """Returns the rows of each rank in a batch that the ranks share; their numbers differ by at most one."""
    return [slice(first, last) for first, last in pairwise(rank * rows // world for rank in range(world + 1))]


class Gathered(Function):
    """Shares (b, ...) of every rank -> whole batches (B, ...). ranks: the `Ranks` that share them.

    Every rank computes the loss of the whole batch, and gradients are averaged over the ranks. The gradient of a share is
    therefore the rows of this rank times the number of ranks: the average is then the gradient of the whole batch, whether a
    parameter acts through the network or in the loss itself. This gradient can be differentiated once more by parameters that
    act in the loss, as `Bilevel` does; not by parameters of the network, because it holds the rows of one rank alone.

    inside: whether the batches are maps on their way through the network. Each rank then passes on its share of them, which
    mixing has made of rows of all ranks, so that the gradients of the ranks differ and their sum takes the place of that
    multiple. It cannot be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, ranks: Any, rows: int, inside: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.ranks, ctx.rows, ctx.inside = ranks, rows, inside
        ctx.set_materialize_grads(False)
        own = [share.reshape(len(share), -1).contiguous().view(torch.uint8) for share in tensors]
        widths = [tensor.shape[1] for tensor in own]
        most = -(-rows // ranks.world)
        sent = torch.zeros(most, sum(widths), dtype=torch.uint8, device=own[0].device)
        torch.cat(own, dim=1, out=sent[: len(own[0])])
        found = [torch.empty_like(sent) for _ in range(ranks.world)]
        with ranks.spoken():
            dist.all_gather(found, sent)
        shared = zip(found, shares(rows, ranks.world), strict=True)
        whole = torch.cat([tensor[: share.stop - share.start] for tensor, share in shared])
        parts = zip(tensors, whole.split(widths, dim=1), strict=True)
        return tuple(part.contiguous().view(share.dtype).view(rows, *share.shape[1:]) for share, part in parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        mine = ctx.ranks.share(ctx.rows)
        return None, None, None, *(None if whole is None else Gathered._of_all(ctx, whole)[mine] for whole in gradients)

    @staticmethod
    def _of_all(ctx: Any, whole: Tensor) -> Tensor:
        if not ctx.inside:
            return whole * ctx.ranks.world
        total = whole.clone(memory_format=torch.contiguous_format)  # a message of another layout is refused
        with ctx.ranks.spoken():
            dist.all_reduce(total)
        return total


class Averaging(Function):
    """A loss -> the same loss, whose backward pass ends by averaging gradients over the ranks."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, ranks: Any, module: nn.Module) -> Tensor:
        ctx.ranks, ctx.module = ranks, module
        return total.view_as(total)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ranks, module = ctx.ranks, ctx.module
        # autograd's engine calls this when the whole backward pass is done, as it does for torch's own data parallelism.
        Variable._execution_engine.queue_callback(
            lambda: ranks.average([parameter.grad for parameter in module.parameters() if parameter.grad is not None])
        )
        return gradient, None, None
