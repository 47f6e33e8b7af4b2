"""Momentum network: a slowly moving twin of a network, for the keys of contrastive terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.network.frozen import with_buffers
from ltrun.network.plain import Projected
from ltrun.numerics import in_float32, widened
from ltrun.parts import Network, Piece
from ltrun.types import Outputs, Streams


class Momentum(Network):
    """Passes stream `slow` through a momentum twin, without gradient, and every other stream through the network itself.

    After each step the twin's weights move to momentum * twin + (1 - momentum) * network. MoCo updates them before
    the next forward pass, which is the same. In training the twin's batch norms use their own batches, as in MoCo. The twin
    has a backbone and a projector but no head, so the slow stream has features and embeddings but no logits. The twin's
    weights are buffers, so checkpoints carry them and no optimizer trains them. At test time the network predicts.

    He et al., 2020, arXiv 1911.05722.
    """

    provides = Projected.provides

    def __init__(self, network: Projected, momentum: float = 0.999, slow: str = "key"):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {momentum}")
        self.momentum, self.slow = momentum, slow
        self.network = network
        self.twin = with_buffers(nn.ModuleDict({"backbone": network.backbone, "projector": network.projector}))

    def encode(self, inputs: Tensor) -> Tensor:
        return self.network.encode(inputs)

    def pieces(self) -> list[Piece]:
        return self.network.pieces()

    def decide(self, features: Tensor) -> Outputs:
        return self.network.decide(features)

    def forward(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        passes = {name: self._keys if name == self.slow else self.network.predict for name in need}
        return {name: passes[name](streams[name].inputs) for name in need}

    @torch.no_grad()
    def _keys(self, inputs: Tensor) -> Outputs:
        features = widened(self.twin["backbone"](inputs))
        return Outputs(features=features, embedding=in_float32(self.twin["projector"], features))

    @torch.no_grad()
    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        twin, network = dict(self.twin.named_buffers()), dict(self.network.named_parameters())
        shared = [name for name in network if name in twin]
        torch._foreach_lerp_([twin[name] for name in shared], [network[name] for name in shared], 1 - self.momentum)
