"""The interface of an optimizer's option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import nn

from ltrun.parts import Descent


class Optimizer(Protocol):
    """Hyper-parameters of an optimizer, before there are parameters."""

    def build(self, parameters: Mapping[str, nn.Parameter]) -> Descent:
        """parameters: by name, as in `network.backbone.conv1.weight`, so that groups of them may have rates of their own."""
