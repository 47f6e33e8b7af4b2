"""SAM: a step along the gradient at the worst weights nearby."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.parts import Descent, Objective, Outcome, Update
from ltrun.types import Streams


def ascent(slopes: Sequence[Tensor], rho: float) -> list[Tensor]:
    """Returns rho * slope / norm for each tensor, with the norm over all of them together; zeros for slopes of zeros."""
    norm = torch.stack(torch._foreach_norm(list(slopes))).norm()
    return list(torch._foreach_mul(list(slopes), rho / (norm + 1e-16)))


def check_rho(rho: float) -> None:
    """Raises ConfigError unless a radius is above 0."""
    if rho <= 0:
        raise ConfigError(f"rho must be above 0, got {rho}; regularization=none takes plain steps")


def trained(optimizer: Descent) -> list[nn.Parameter]:
    """Returns the parameters that an optimizer moves."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@contextmanager
def away(network: nn.Module, weights: Sequence[nn.Parameter], steps: Sequence[Tensor]) -> Iterator[None]:
    """Moves weights by `steps` for the block, and lets the network write its buffers to copies, which are dropped.

    Afterwards weights and buffers, such as running statistics, have their bits from before.
    """
    before = [weight.detach().clone() for weight in weights]
    buffers = [(module, name, b) for module in network.modules() for name, b in module._buffers.items() if b is not None]
    with torch.no_grad():
        torch._foreach_add_(list(weights), list(steps))
    for module, name, buffer in buffers:
        module._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        with torch.no_grad():
            torch._foreach_copy_(list(weights), before)


def descend(optimizer: Descent, weights: Sequence[nn.Parameter], slopes: Sequence[Tensor]) -> None:
    """Takes the optimizer's step along given gradients."""
    for weight, slope in zip(weights, slopes, strict=True):
        weight.grad = slope
    optimizer.step()


class SAM(Update):
    """Sharpness-aware minimisation: the optimizer's step, from w, along the gradient at w + rho * g / |g|.

    g is the gradient at w, its norm over all trained weights. A step has two forward and two backward passes, on the same
    augmented and mixed images; feature mixers and dropout draw anew. The second pass moves no running statistics, and the
    reported losses are the first pass's. rho = 0.05 is the authors' value for CIFAR-10, 0.1 theirs for CIFAR-100.

    Foret et al., 2021, arXiv 2010.01412.
    """

    def __init__(self, rho: float = 0.05):
        super().__init__()
        check_rho(rho)
        self.rho = rho

    def forward(self, objective: Objective, optimizer: Descent, streams: Streams) -> Outcome:
        objective.check_unscaled(self)
        optimizer.zero_grad(set_to_none=True)
        weights, prepared = trained(optimizer), objective.prepared(streams)
        values, outputs, seen = objective.of(prepared)
        steps = ascent(objective.gradient(values["total"], weights), self.rho)
        with away(objective.network, weights, steps):
            slopes = objective.gradient(objective.of(prepared)[0]["total"], weights)
        descend(optimizer, weights, slopes)
        return values, outputs, seen
