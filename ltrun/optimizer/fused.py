"""Fused optimizers: one kernel for each group of parameters, with learning rates, clipping and skipped steps on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ltrun.optimizer.base import Scaling
from ltrun.optimizer.groups import Group

TINY = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm


class Moved(NamedTuple):
    """Parameters that have a gradient. rows: their places among all parameters."""

    rows: list[int]
    parameters: list[Tensor]
    gradients: list[Tensor]


class Fused:
    """Base of fused optimizers, whose learning rates are tensors: a step captured as a CUDA graph sees the current ones.

    This class does not inherit from torch.optim.Optimizer, because creating the first Optimizer imports torch._dynamo, which
    takes longer than the first epoch on a small data set. `param_groups` and the methods are those of `Descent`. Parameters
    without a gradient are not changed.

    clip: the largest Euclidean norm of all gradients together; longer ones are shortened, as by
    torch.nn.utils.clip_grad_norm_. scaling: set by the engine for runtime.precision=fp16; then gradients are divided by its
    scale, and a step whose gradients are not finite changes nothing. The host waits for neither.
    """

    def __init__(self, groups: Sequence[Group], lr: float, weight_decay: float, clip: float | None = None) -> None:
        self.groups, self.clip = list(groups), clip
        self.scaling: Scaling | None = None
        placed = {row: p for group in groups for row, p in zip(group.rows, group.parameters, strict=True)}
        self.parameters = [placed[row] for row in sorted(placed)]
        device = self.parameters[0].device if self.parameters else None
        self.param_groups: list[dict[str, Any]] = [
            {
                "params": group.parameters,
                "lr": torch.tensor(lr * group.factor, device=device),
                "initial_lr": lr * group.factor,
                "weight_decay": weight_decay if group.decays else 0.0,
            }
            for group in groups
        ]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.parameters:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        divisor, skipped = self._divisor([p.grad for p in self.parameters if p.grad is not None])
        for group, options in zip(self.groups, self.param_groups, strict=True):
            found = [(row, p, p.grad) for row, p in zip(group.rows, group.parameters, strict=True) if p.grad is not None]
            if found:
                self.move(Moved(*map(list, zip(*found, strict=True))), options, divisor, skipped)

    def move(self, moved: Moved, options: dict[str, Any], divisor: Tensor | None, skipped: Tensor | None) -> None:
        """Moves parameters of one group, which has these options. divisor: of the gradients. skipped: 1 leaves all as it is.
        Both are float32 scalars, or None."""
        raise NotImplementedError

    def _divisor(self, gradients: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Returns what the gradients are to be divided by, and whether the step is to be skipped; None for no change."""
        if not gradients or (self.clip is None and self.scaling is None):
            return None, None
        norm = torch.stack([each.float() for each in torch._foreach_norm(gradients)]).norm()
        divisor, skipped = (None, None) if self.scaling is None else self.scaling.seen(norm)
        if self.clip is not None:
            true = norm if divisor is None else norm / divisor
            excess = ((true + TINY) / self.clip).clamp(min=1)
            divisor = excess if divisor is None else divisor * excess
        return divisor, skipped

    def state_dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copies a state into this optimizer's tensors. Raises ValueError for a state of other parameters."""
        for name, tensors in self.state_dict().items():
            for own, saved in zip(tensors, state[name], strict=True):
                own.copy_(saved)
