"""Multi-expert network whose experts fuse their own deep maps with shallow maps of different depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltrun.backbone import without_neck
from ltrun.errors import ConfigError
from ltrun.kernels.norm_relu import norm_relu
from ltrun.numerics import in_float32, widened
from ltrun.parts import Backbone, Head, Network
from ltrun.types import Outputs


class DepthFusion(Network):
    """SHIKE's network: experts share all layers but the last; expert e multiplies its maps by the maps of a shared layer.

    The shared layer is layer1 for the first expert, layer2 for the second, and so on in turn; strided 3x3 convolutions, which
    double the channels, bring its maps to the size of the last ones. The product is pooled; each expert has a head. experts:
    (E, B, C); logits: their mean; features: (B, E * D), side by side. The authors' blocks have shortcuts with a convolution
    (option B), here they have those of the chosen network.

    Jin et al., 2023, arXiv 2304.01279.
    """

    provides = frozenset({"features", "logits", "experts"})

    def __init__(self, num_experts: int = 3, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        if num_experts < 2:
            raise ConfigError(f"num_experts must be at least 2, got {num_experts}")
        layers = [name for name, _ in without_neck(backbone).pieces()][:-1]
        if len(layers) < 2:
            raise ConfigError(f"network: {type(backbone).__name__} has no layers to fuse; choose a residual network")
        self.trunk, branches = backbone.fork(layers[-2], num_experts)
        self.branches = nn.ModuleList(branches)
        depths = [len(layers) - 1 - index % (len(layers) - 1) for index in range(num_experts)]
        self.shallow = nn.ModuleList(Aligned(branch.features, depth) for branch, depth in zip(branches, depths, strict=True))
        self.heads = nn.ModuleList(make_head(branch.features) for branch in branches)

    @classmethod
    def places_of(cls, arguments: Mapping[str, Any]) -> list[str]:
        return ["inputs", "features"]

    def encode(self, inputs: Tensor) -> Tensor:
        """(E, B, D): the features of each expert."""
        levels = cast(Any, self.trunk).levels(inputs)
        found = []
        for index, (branch, shallow) in enumerate(zip(self.branches, self.shallow, strict=True)):
            maps = cast(Any, branch).maps(levels[-1]) * shallow(levels[index % len(levels)])
            found.append(widened(maps.mean(dim=(2, 3))))
        return torch.stack(found)

    def decide(self, features: Tensor) -> Outputs:
        experts = torch.stack([in_float32(head, x) for head, x in zip(self.heads, features, strict=True)])
        scale = cast(Head, self.heads[0]).scale
        return Outputs(features=torch.cat(features.unbind(), dim=1), logits=experts.mean(dim=0), scale=scale, experts=experts)


class Aligned(nn.Sequential):
    """Maps (B, channels / 2 ** depth, H, W) -> (B, channels, H / 2 ** depth, W / 2 ** depth), by strided convolutions."""

    def __init__(self, channels: int, depth: int):
        widths = [channels >> (depth - step) for step in range(depth + 1)]
        super().__init__(*(Strided(*pair, rectified=index != 1) for index, pair in enumerate(pairwise(widths))))


class Strided(nn.Module):
    """A 3x3 convolution of stride 2, batch normalisation, and ReLU unless `rectified` is False, as for SHIKE's second one."""

    normalised = (("conv", "bn"),)

    def __init__(self, channels: int, out: int, rectified: bool):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel_size=3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.rectified = rectified

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.conv(maps)
        return norm_relu(self.bn, maps) if self.rectified else cast(Tensor, self.bn(maps))
