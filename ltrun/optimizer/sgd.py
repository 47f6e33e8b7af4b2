"""Stochastic gradient descent with its learning rate on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ltrun.errors import ConfigError


class SGD:
    """Stochastic gradient descent with momentum; lr is the base rate that the schedule multiplies.

    Weight decay applies to every parameter, biases and normalisation included, as in the published recipes. The defaults
    are LDAM-DRW's (Cao et al., 2019, arXiv 1906.07413).
    """

    def __init__(self, lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 2e-4, nesterov: bool = False):
        if lr <= 0:
            raise ConfigError(f"lr must be above 0, got {lr}")
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {momentum}")
        if weight_decay < 0:
            raise ConfigError(f"weight_decay must not be negative, got {weight_decay}")
        if nesterov and momentum == 0:
            raise ConfigError("nesterov needs a momentum above 0")
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov

    def build(self, parameters: Mapping[str, nn.Parameter]) -> FusedSGD:
        return FusedSGD(list(parameters.values()), self.lr, self.momentum, self.weight_decay, self.nesterov)


class FusedSGD:
    """SGD in one kernel, with its learning rate as a tensor on the device; equals torch.optim.SGD(fused=True) bit for bit.

    A step captured as a CUDA graph therefore sees the current rate. This class does not inherit from torch.optim.Optimizer,
    because creating the first Optimizer imports torch._dynamo, which takes longer than the first epoch on a small data set.
    `param_groups` and the methods are those of `Descent`. Parameters without a gradient are not changed.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, momentum: float, weight_decay: float, nesterov: bool):
        self.parameters = list(parameters)
        device = self.parameters[0].device if self.parameters else None
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        rate = {"lr": torch.tensor(lr, device=device), "initial_lr": lr}
        self.param_groups: list[dict[str, Any]] = [{"params": self.parameters, **rate}]
        self.buffers = [torch.zeros_like(p) for p in self.parameters] if momentum else []

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.parameters:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        gradients = [(index, p.grad) for index, p in enumerate(self.parameters) if p.grad is not None]
        moved = [index for index, _ in gradients]
        torch._fused_sgd_(
            [self.parameters[index] for index in moved],
            [gradient for _, gradient in gradients],
            [self.buffers[index] for index in moved] if self.buffers else [],
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=self.param_groups[0]["lr"],
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,  # momentum buffers of zeros give the same first step
        )

    def state_dict(self) -> dict[str, Any]:
        return {"momentum": self.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for buffer, saved in zip(self.buffers, state["momentum"], strict=True):
            buffer.copy_(saved)
