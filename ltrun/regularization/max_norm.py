"""MaxNorm: a bound on the norms of class weights, kept by projection after each step."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.parts import Descent, Head, Network, Objective, Outcome, Update
from ltrun.types import Streams


def bound_of(weights: Tensor, threshold: float) -> Tensor:
    """A scalar between the least (threshold 0) and the largest (1) norm of class weights (C, D)."""
    norms = weights.norm(dim=1)
    return norms.min() + threshold * (norms.max() - norms.min())


def projected(weights: Tensor, bound: Tensor) -> Tensor:
    """(C, D): the class weights, of which longer ones than `bound` are shortened to it."""
    norms = weights.norm(dim=1, keepdim=True)
    return torch.where(norms > bound, weights * (bound / norms), weights)


class MaxNorm(Update):
    """Plain steps, after each of which class weights longer than a bound are shortened to it; biases stay.

    The bound of a head is set once, when the stage begins: the least norm of its class weights plus `threshold` times the
    difference to the largest. It does not move. In a single stage it therefore comes from the initial weights.

    Alshammari et al., 2022, arXiv 2203.14197.
    """

    reads = frozenset({"products"})
    bounds: Tensor

    def __init__(self, threshold: float = 0.1, *, network: Network):
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold must lie between 0 and 1, got {threshold}")
        self.names = network.head_names()
        heads = [cast(Head, network.get_submodule(name)) for name in self.names]
        for head in heads:
            if not isinstance(head.classes, nn.Parameter):
                raise ConfigError(f"regularization=max_norm: {type(head).__name__} makes its class weights; drop one of them")
        self.register_buffer("bounds", torch.stack([bound_of(head.classes.detach(), threshold) for head in heads]))

    def forward(self, objective: Objective, optimizer: Descent, streams: Streams) -> Outcome:
        outcome = objective(streams)
        optimizer.zero_grad(set_to_none=True)
        outcome[0]["total"].backward()
        optimizer.step()
        with torch.no_grad():
            for name, bound in zip(self.names, self.bounds.unbind(), strict=True):
                weight = cast(Head, objective.network.get_submodule(name)).classes
                weight.copy_(projected(weight, bound))
        return outcome
