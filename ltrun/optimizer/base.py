"""Interface of an optimizer: the protocol that every option of the group meets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from ltrun.parts import Descent


class Optimizer(Protocol):
    """Hyper-parameters of an optimizer, known before the network's parameters exist."""

    def build(self, parameters: Mapping[str, nn.Parameter]) -> Descent:
        """parameters: by name, such as `network.backbone.conv1.weight`, so that groups of them can have their own rates."""
