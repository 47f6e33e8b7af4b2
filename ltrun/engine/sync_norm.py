"""Synchronised batch normalisation (runtime.sync_bn): statistics of the whole batch, of which each rank has a share."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function

from ltrun.engine.distributed import Ranks
from ltrun.network.dar_norm import DARBatchNorm1d, DARBatchNorm2d
from ltrun.numerics import widened


def synchronise(network: nn.Module, ranks: Ranks) -> None:
    """Makes the batch normalisations of a network use the statistics of all ranks. Names and states of modules stay."""
    for module in network.modules():
        if type(module) in SYNCHRONISED:
            module.__class__ = SYNCHRONISED[type(module)]
            module.ranks = ranks  # type: ignore[assignment]


class _Synchronised(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the shares of all ranks. torch's own SyncBatchNorm runs on CUDA devices alone.

    A batch that passes through the network of each rank as a whole is normalised there: see `Ranks.splits`.
    """

    ranks: Ranks

    def forward(self, inputs: Tensor) -> Tensor:
        if not (self.training and self.ranks.passing_share):
            return super().forward(inputs)
        self._check_input_dim(inputs)
        dims = [0, *range(2, inputs.dim())]
        shape = [1, -1, *[1] * (inputs.dim() - 2)]
        x = widened(inputs)
        mean = x.mean(dims)
        spread = (x - mean.view(shape)).square().sum(dims)
        count = torch.full_like(mean[:1], x.numel() / len(mean))
        mean, spread, count = joined(mean, spread, count, self.ranks)
        variance = spread / count
        self._follow(mean.detach(), variance.detach(), count.detach())
        y = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(inputs.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Moves the running statistics towards those of the batch, as torch does: with the unbiased variance."""
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        weight = self.momentum
        if weight is None:  # plain means over all batches
            assert self.num_batches_tracked is not None
            weight = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), weight)


class Synchronised1d(_Synchronised, nn.BatchNorm1d):
    pass


class Synchronised2d(_Synchronised, nn.BatchNorm2d):
    pass


class Synchronised3d(_Synchronised, nn.BatchNorm3d):
    pass


class SynchronisedDAR1d(DARBatchNorm1d):
    """DAR-BN over the shares of all ranks."""

    ranks: Ranks

    def moments(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _shared(super().moments(x, rows), self.ranks)


class SynchronisedDAR2d(DARBatchNorm2d):
    """DAR-BN over the shares of all ranks."""

    ranks: Ranks

    def moments(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _shared(super().moments(x, rows), self.ranks)


SYNCHRONISED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: Synchronised1d,
    nn.BatchNorm2d: Synchronised2d,
    nn.BatchNorm3d: Synchronised3d,
    DARBatchNorm1d: SynchronisedDAR1d,
    DARBatchNorm2d: SynchronisedDAR2d,
}


def _shared(moments: tuple[Tensor, Tensor, Tensor], ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    return joined(*moments, ranks) if ranks.passing_share else moments


def joined(mean: Tensor, spread: Tensor, count: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Returns mean, sum of squared distances from it and (1,) number of values of all ranks, from a rank's own.

    A rank may have no values; if none has any, the mean is 0.
    """
    means, spreads, counts = _All.apply(torch.cat([mean, spread, count]), ranks).split([len(mean), len(mean), 1], dim=1)
    total = counts.sum(0)
    mean = (means * counts).sum(0) / total.clamp(min=1)
    return mean, (spreads + counts * (means - mean).square()).sum(0), total


class _All(Function):
    """(n,) of each rank -> (world, n) on every rank. Its gradient sums over the ranks, and is differentiable itself."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        found = [torch.empty_like(values) for _ in range(ranks.world)]
        with ranks.spoken():
            dist.all_gather(found, values.contiguous())
        return torch.stack(found)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Own.apply(gradient, ctx.ranks), None


class _Own(Function):
    """(world, n) of each rank -> (n,), this rank's row of the sum over the ranks."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        total = values.clone(memory_format=torch.contiguous_format)  # a message of another layout is refused
        with ranks.spoken():
            dist.all_reduce(total)
        return total[ranks.rank].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _All.apply(gradient, ctx.ranks), None
