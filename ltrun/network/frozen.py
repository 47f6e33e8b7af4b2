"""Frozen network: a copy of a network that no optimizer trains, such as a teacher or a momentum twin."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

from torch import Tensor, nn

from ltrun.parts import Network
from ltrun.types import Outputs

M = TypeVar("M", bound=nn.Module)


def with_buffers(module: M) -> M:
    """Returns a copy whose parameters are buffers of the same names and values: checkpoints carry them, and no optimizer
    trains them."""
    copy = deepcopy(module)
    for part in copy.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
    return copy


class Frozen(nn.Module):
    """A copy of a network, always in evaluation mode, whose weights are buffers. Gradients flow to its inputs."""

    def __init__(self, network: Network):
        super().__init__()
        self.network: Network = with_buffers(network)
        self.train(False)

    def train(self, mode: bool = True) -> Frozen:
        super().train(False)
        return self

    @property
    def features(self) -> int:
        """The length of Outputs.features."""
        return self.network.features

    def encode(self, inputs: Tensor) -> Tensor:
        return self.network.encode(inputs)

    def decide(self, features: Tensor) -> Outputs:
        return self.network.decide(features)

    def predict(self, inputs: Tensor) -> Outputs:
        """Returns the outputs of one batch of prepared inputs."""
        return self.network.predict(inputs)
