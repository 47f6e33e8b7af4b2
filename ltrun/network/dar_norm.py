"""DAR-BN: batch normalisation that gives generated images statistics of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.numerics import widened


class _DARBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Distribution-aware routing: natural rows are normalised by their statistics, which the running statistics follow;
    generated rows by their own mean and variance, all of it without gradient.

    generated: (B,) bool, set for one pass; without it, or in evaluation mode, the layer is torch's. Statistics are sums over
    masked rows, so that shapes are static. Where a batch has rows of one kind alone, the other kind changes nothing.

    Zada et al., 2021, arXiv 2112.08810.
    """

    generated: Tensor | None

    def forward(self, inputs: Tensor) -> Tensor:
        if self.generated is None or not self.training:
            return super().forward(inputs)
        self._check_input_dim(inputs)
        x = widened(inputs)
        generated = self.generated.view(-1, *[1] * (x.dim() - 1))
        natural, count, (mean, variance) = self._normalised(x, ~generated)
        self._follow(mean.detach(), variance.detach(), count.detach())
        with torch.no_grad():
            other, _, _ = self._normalised(x, generated)
        return torch.where(generated, other, natural).to(inputs.dtype)

    def moments(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns (C,) mean, (C,) sum of squared distances from it, and (1,) number of values, of the rows (B, 1, ...)."""
        dims, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
        chosen = rows.to(x.dtype)
        count = chosen.sum().view(1) * (x[0].numel() // x.shape[1])
        mean = (x * chosen).sum(dims) / count.clamp(min=1)
        return mean, ((x - mean.view(shape)).square() * chosen).sum(dims), count

    def _normalised(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Returns all rows normalised by the statistics of the chosen ones, the number of their values, mean and variance."""
        mean, spread, count = self.moments(x, rows)
        variance = spread / count.clamp(min=1)
        shape = [1, -1, *[1] * (x.dim() - 2)]
        y = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y, count, (mean, variance)

    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Moves the running statistics as torch does, with the unbiased variance; not for a batch without natural rows."""
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        weight = (count[0] > 0).to(self.running_mean.dtype) * (self.momentum or 0.0)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)


class DARBatchNorm1d(_DARBatchNorm, nn.BatchNorm1d):
    pass


class DARBatchNorm2d(_DARBatchNorm, nn.BatchNorm2d):
    pass


DAR: dict[type[nn.Module], type[_DARBatchNorm]] = {nn.BatchNorm1d: DARBatchNorm1d, nn.BatchNorm2d: DARBatchNorm2d}


def use(network: nn.Module) -> None:
    """Makes the batch normalisations of a network DAR-BN; names and states stay. Raises ConfigError for one of another kind."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if type(module) not in DAR or module.momentum is None:
                raise ConfigError(
                    f"network: its {type(module).__name__} cannot normalise generated images apart, for augmentation=open; "
                    "choose a network with torch's batch normalisation and a momentum"
                )
            module.__class__ = DAR[type(module)]
            module.generated = None  # type: ignore[assignment]


def route(network: nn.Module, generated: Tensor | None) -> None:
    """Tells the DAR-BN layers of a network which rows of the next pass are generated."""
    for module in network.modules():
        if isinstance(module, _DARBatchNorm):
            module.generated = generated
