"""Frozen network: a copy of a network as a teacher, always in evaluation mode."""

from __future__ import annotations

from torch import Tensor

from ltrun.network.frozen import with_buffers
from ltrun.parts import Network
from ltrun.types import Outputs


class Frozen(Network):
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
