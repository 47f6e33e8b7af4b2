"""Network with modulated attention on its last feature map, as in OLTR."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.network.plain import classify
from ltrun.parts import Backbone, Head, Network, Piece
from ltrun.types import Outputs


class ModulatedAttention(nn.Module):
    """maps (B, channels, H, W) -> maps of the same shape: x + s * mask(attention(x)), with a spatial attention s of sum 1.

    The attention is over all pairs of the H * W positions, in half the channels; s is a softmax over the positions, computed
    from the whole map by a linear layer, so that the size of the map is fixed. The mask starts at 0, and the layer at x.
    """

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        half = channels // 2
        self.theta, self.phi, self.g = (nn.Conv2d(channels, half, 1) for _ in range(3))
        self.mask = nn.Conv2d(half, channels, 1, bias=False)
        nn.init.zeros_(self.mask.weight)
        self.spatial = nn.Linear(channels * height * width, height * width)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the spatial attention (B, 1, H, W) and the masked attention (B, channels, H, W)."""
        theta, phi, g = (conv(x).flatten(2) for conv in (self.theta, self.phi, self.g))
        pairs = (theta.transpose(1, 2) @ phi).softmax(dim=2)
        mask = self.mask((g @ pairs.transpose(1, 2)).unflatten(2, x.shape[2:]))
        return self.spatial(x.flatten(1)).softmax(dim=1).unflatten(1, (1, *x.shape[2:])), mask

    def forward(self, x: Tensor) -> Tensor:
        spatial, mask = self.parts(x)
        return spatial * mask + x


class Modulated(Network):
    """images -> backbone -> maps -> modulated attention -> pooling -> head -> logits.

    The attention begins as the identity. decoupling=oltr leaves it out of the first stage's training.

    Liu et al., 2019, arXiv 1904.05160.
    """

    def __init__(self, *, backbone: Backbone, make_head: Callable[[int], Head], input_shape: torch.Size):
        super().__init__()
        *body, (_, _) = backbone.pieces()
        if not body:
            raise ConfigError("the modulated attention needs maps, which this network does not show; choose a ResNet")
        self.backbone = backbone
        self.head = make_head(backbone.features)
        self.modulation = ModulatedAttention(*_shape_of_maps(backbone, body, input_shape))

    def pieces(self) -> list[Piece]:
        *body, (place, pool) = self.backbone.pieces()
        return [*body, (place, lambda maps: pool(self.modulation(maps)))]

    def encode(self, inputs: Tensor) -> Tensor:
        for _, piece in self.pieces():
            inputs = piece(inputs)
        return inputs

    def decide(self, features: Tensor) -> Outputs:
        return classify(self.head, features)


@torch.no_grad()
def _shape_of_maps(backbone: Backbone, body: list[Piece], input_shape: torch.Size) -> torch.Size:
    """Returns channels, height and width of the last maps for inputs of a shape."""
    training = backbone.training
    backbone.eval()  # running statistics stay
    maps = torch.zeros(1, *input_shape)
    for _, piece in body:
        maps = piece(maps)
    backbone.train(training)
    return maps.shape[1:]
