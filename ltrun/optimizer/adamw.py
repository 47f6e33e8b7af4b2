"""AdamW with its learning rate and its step count on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.optimizer.fused import Fused, Moved
from ltrun.optimizer.groups import Group, check_rates, groups_of


class AdamW:
    """Adam with decoupled weight decay; lr is the base rate that the schedule multiplies.

    clip: the largest norm of all gradients together. rates: pattern over names of parameters -> factor of lr, such as
    {"backbone.*": 0.1}; the first pattern that matches counts. Names are those of `trainable`. layer_decay: factor of lr from
    each block of the network to the one below it; the head has lr itself. decay_norms: false exempts norms, biases, position
    embeddings and class tokens from weight decay.

    Loshchilov and Hutter, 2019, arXiv 1711.05101; layer decay: Bao et al., 2021 (BEiT), arXiv 2106.08254.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.05,
        clip: float | None = None,
        rates: Mapping[str, float] | None = None,
        layer_decay: float | None = None,
        decay_norms: bool = True,
        *,
        parameter_names: Sequence[str] = (),
    ):
        check_rates(lr, weight_decay, clip, rates)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"betas must be two numbers of at least 0 and below 1, got {list(betas)}")
        if eps <= 0:
            raise ConfigError(f"eps must be above 0, got {eps}")
        if layer_decay is not None and not 0 < layer_decay <= 1:
            raise ConfigError(f"layer_decay must be above 0 and at most 1, got {layer_decay}")
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.clip, self.rates, self.layer_decay, self.decay_norms = clip, rates, layer_decay, decay_norms
        self.names = parameter_names

    def build(self, parameters: Mapping[str, nn.Parameter]) -> FusedAdamW:
        groups = groups_of(parameters, self.names, self.rates, self.layer_decay, self.decay_norms)
        return FusedAdamW(groups, self.lr, self.betas, self.eps, self.weight_decay, self.clip)


class FusedAdamW(Fused):
    """AdamW in one kernel for each group of parameters; equals torch.optim.AdamW(fused=True) bit for bit.

    Each parameter counts its own steps, as in torch: a step without its gradient does not count.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        lr: float,
        betas: Sequence[float],
        eps: float,
        weight_decay: float,
        clip: float | None = None,
    ):
        super().__init__(groups, lr, weight_decay, clip)
        self.betas, self.eps = betas, eps
        self.means, self.squares = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def move(self, moved: Moved, options: dict[str, Any], divisor: Tensor | None, skipped: Tensor | None) -> None:
        steps = [self.steps[row] for row in moved.rows]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            moved.parameters,
            moved.gradients,
            [self.means[row] for row in moved.rows],
            [self.squares[row] for row in moved.rows],
            [],
            steps,
            lr=options["lr"],
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=options["weight_decay"],
            eps=self.eps,
            amsgrad=False,
            maximize=False,
            grad_scale=divisor,
            found_inf=skipped,
        )
        if skipped is not None:
            torch._foreach_sub_(steps, [skipped] * len(steps))

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.means, "square": self.squares, "steps": self.steps}
