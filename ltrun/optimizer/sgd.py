"""Stochastic gradient descent with its learning rate on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.optimizer.fused import Fused, Moved
from ltrun.optimizer.groups import Group, check_rates, groups_of


class SGD:
    """Stochastic gradient descent with momentum; lr is the base rate that the schedule multiplies.

    Weight decay applies to every parameter, biases and normalisation included, as in the published recipes. The defaults
    are LDAM-DRW's (Cao et al., 2019, arXiv 1906.07413).

    clip: the largest norm of all gradients together. rates: pattern over names of parameters -> factor of lr, such as
    {"backbone.*": 0.1}; the first pattern that matches counts. Names are those of `trainable`.
    """

    def __init__(
        self,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 2e-4,
        nesterov: bool = False,
        clip: float | None = None,
        rates: Mapping[str, float] | None = None,
        *,
        parameter_names: Sequence[str] = (),
    ):
        check_rates(lr, weight_decay, clip, rates)
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {momentum}")
        if nesterov and momentum == 0:
            raise ConfigError("nesterov needs a momentum above 0")
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.clip, self.rates, self.names = clip, rates, parameter_names

    def build(self, parameters: Mapping[str, nn.Parameter]) -> FusedSGD:
        groups = groups_of(parameters, self.names, self.rates)
        return FusedSGD(groups, self.lr, self.momentum, self.weight_decay, self.nesterov, self.clip)


class FusedSGD(Fused):
    """SGD in one kernel for each group of parameters; equals torch.optim.SGD(fused=True) bit for bit."""

    def __init__(
        self,
        groups: Sequence[Group],
        lr: float,
        momentum: float,
        weight_decay: float,
        nesterov: bool,
        clip: float | None = None,
    ):
        super().__init__(groups, lr, weight_decay, clip)
        self.momentum, self.nesterov = momentum, nesterov
        self.buffers = [torch.zeros_like(p) for p in self.parameters] if momentum else []

    def move(self, moved: Moved, options: dict[str, Any], divisor: Tensor | None, skipped: Tensor | None) -> None:
        torch._fused_sgd_(
            moved.parameters,
            moved.gradients,
            [self.buffers[row] for row in moved.rows] if self.buffers else [],
            weight_decay=options["weight_decay"],
            momentum=self.momentum,
            lr=options["lr"],
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
            is_first_step=False,  # momentum buffers of zeros give the same first step
            grad_scale=divisor,
            found_inf=skipped,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"momentum": self.buffers}
