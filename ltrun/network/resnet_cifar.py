"""ResNet for images of 8 to 64 pixels: the ResNet-32 of long-tailed recognition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.backbone import INPUTS, for_each, kept
from ltrun.errors import ConfigError, did_you_mean
from ltrun.kernels.norm_relu import norm_relu
from ltrun.network.weights import load, opened
from ltrun.parts import Backbone, Piece


class ResNetCIFAR(Backbone):
    """images (B, in_channels, H, W), H and W at least 8 -> features (B, 4 * width).

    A 3x3 convolution, then three layers of (depth - 2) / 6 basic blocks with width, 2 and 4 times width channels, the second
    and third of which halve the resolution; global average pooling. Shortcuts have no parameters (option A). Convolutions are
    initialised by `kaiming_normal_` (fan in). Two networks are called "ResNet-32": this is LDAM-DRW's (464,154 parameters with
    a linear head for 10 classes), not Google's with blocks of three convolutions (300,762). weights: a file, such as the model
    of another run of ltrun. sha256: the first digits of the file's SHA-256, which ltrun fills in.

    He et al., 2016, arXiv 1512.03385, section 4.2; Cao et al., 2019, arXiv 1906.07413.
    """

    normalised = (("conv1", "bn1"),)
    pixels = (8, 64)

    def __init__(
        self,
        depth: int = 32,
        width: int = 16,
        weights: str | None = None,
        sha256: str | None = None,
        *,
        in_channels: int,
    ):
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ConfigError(f"depth must be 6n + 2 with n of at least 1, such as 8, 20 or 32, got {depth}")
        if width < 1:
            raise ConfigError(f"width must be at least 1, got {width}")
        blocks = (depth - 2) // 6
        self.features = 4 * width
        self.conv1 = _conv3x3(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(*(Block(width, width) for _ in range(blocks)))
        self.layer2 = _layer(width, 2 * width, blocks)
        self.layer3 = _layer(2 * width, 4 * width, blocks)
        self.pretrained = weights is not None
        if weights is not None:
            path, tensors = opened(weights, sha256, download=False, published={})
            load(self, tensors, path)

    def forward(self, images: Tensor) -> Tensor:
        return _pool(self.layer3(self.layer2(self._first(images))))

    def _first(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.layer1(norm_relu(self.bn1, self.conv1(images))))

    def pieces(self) -> list[Piece]:
        return [("layer1", self._first), ("layer2", self.layer2), ("layer3", self.layer3), ("features", _pool)]

    def fork(
        self, after: str, copies: int, width: float | Sequence[float] = 1.0, depth: float | Sequence[float] = 1.0
    ) -> tuple[nn.Module, list[Backbone]]:
        """Cuts after 'stem', 'layer1', 'layer2' or 'penultimate_block' (BBN: only the very last block is not shared), or
        'inputs'.

        The trunk keeps this network's modules; the branches are new, and start as copies of the blocks that they replace if
        those are pre-trained and width and depth are 1. Raises ConfigError for an unknown block, or for a width that leaves
        fewer channels after the cut than before it, which a shortcut without parameters cannot bridge.
        """
        layers = [[cast(Block, block) for block in layer] for layer in (self.layer1, self.layer2, self.layer3)]
        blocks = [block for layer in layers for block in layer]
        cuts = {"stem": 0, "layer1": len(layers[0]), "layer2": len(layers[0]) + len(layers[1])}
        cuts["penultimate_block"] = len(blocks) - 1
        shapes = list(zip(for_each(width, copies, "width"), for_each(depth, copies, "depth"), strict=True))
        if after == INPUTS:
            return nn.Identity(), [self._whole(*shape) for shape in shapes]
        if after not in cuts:
            raise ConfigError(f"after must name a block of the backbone, got '{after}'{did_you_mean(after, cuts)}")
        shared, branches = blocks[: cuts[after]], list[Backbone]()
        channels = (shared[-1].conv2 if shared else self.conv1).out_channels
        for wide, deep in shapes:
            own = [[block for block in layer if block not in shared] for layer in layers]
            rest = [block for layer in own if layer for block in layer[: kept(len(layer), deep)]]
            widths = [int(wide * block.conv2.out_channels) for block in rest]
            if widths[0] < channels:
                raise ConfigError(
                    f"width must leave at least the {channels} channels of {after}, got {wide} ({widths[0]} left)"
                )
            strides = [block.stride for block in rest]
            branch = Branch([Block(*shape) for shape in zip([channels, *widths], widths, strides, strict=False)])
            if self.pretrained and (wide, deep) == (1, 1):
                branch.blocks.load_state_dict(nn.Sequential(*rest).state_dict())
            branches.append(branch)
        return Trunk(self.conv1, self.bn1, nn.ReLU(inplace=True), *shared), branches

    def _whole(self, width: float, depth: float) -> ResNetCIFAR:
        """Returns a new network of another width and depth, with this network's weights if those are pre-trained and fit."""
        channels, blocks = int(width * self.conv1.out_channels), kept(len(self.layer1), depth)
        made = ResNetCIFAR(6 * blocks + 2, channels, in_channels=self.conv1.in_channels)
        if self.pretrained and (width, depth) == (1, 1):
            made.load_state_dict(self.state_dict())
        return made


class Trunk(nn.Sequential):
    """The modules before the cut of a fork: convolution, batch normalisation, ReLU and blocks; images -> maps."""

    def forward(self, images: Tensor) -> Tensor:
        return self.levels(images)[-1]

    def levels(self, images: Tensor) -> list[Tensor]:
        """Returns the maps after each layer; a layer ends before a block that halves the resolution."""
        convolution, norm, _, *blocks = self
        found, maps = [], norm_relu(norm, convolution(images))
        for block in blocks:
            found += [maps] if cast(Block, block).stride > 1 else []
            maps = block(maps)
        return [*found, maps]


class Branch(Backbone):
    """The blocks after the cut of a fork, and pooling: maps (B, channels, H, W) -> features (B, D)."""

    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.features = blocks[-1].conv2.out_channels
        self.blocks = nn.Sequential(*blocks)

    def forward(self, maps: Tensor) -> Tensor:
        return _pool(self.maps(maps))

    def maps(self, maps: Tensor) -> Tensor:
        """Returns the last maps, which `forward` pools."""
        return cast(Tensor, self.blocks(maps))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut that takes every stride-th pixel and adds channels of zeros on both sides."""

    normalised = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(self, channels: int, out: int, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = _conv3x3(channels, out, stride), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = _conv3x3(out, out), nn.BatchNorm2d(out)
        self.front = (out - channels) // 2
        self.behind = out - channels - self.front

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(norm_relu(self.bn1, self.conv1(x)))
        return norm_relu(self.bn2, y, self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.front, self.behind)) if self.front or self.behind else x


def _layer(channels: int, out: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(Block(channels, out, stride=2), *(Block(out, out) for _ in range(blocks - 1)))


def _conv3x3(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(channels, out, kernel_size=3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return conv


def _pool(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))
