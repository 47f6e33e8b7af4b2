"""Interface of an optimizer: the protocol that every option of the group meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from ltrun.parts import Descent


class Optimizer(Protocol):
    """Hyper-parameters of an optimizer, known before the network's parameters exist."""

    def build(self, parameters: Mapping[str, nn.Parameter]) -> Descent:
        """parameters: by name, such as `network.backbone.conv1.weight`, so that groups of them can have their own rates."""


class Scaling(Protocol):
    """The scale of the loss in fp16. The engine sets it as `scaling` of an optimizer, whose `step` then asks it."""

    def seen(self, norm: Tensor) -> tuple[Tensor, Tensor]:
        """Takes the norm of a step's scaled gradients. Returns the divisor of the gradients, and 1 if the step is to be
        skipped, else 0; float32 scalars on the device."""
