"""ResNet and ResNeXt for photographs, with torchvision's names of parameters: depths 10 to 152."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.backbone import INPUTS, Preprocessing, for_each, kept
from ltrun.errors import ConfigError, did_you_mean
from ltrun.kernels.norm_relu import norm_relu
from ltrun.network.blocks import Basic, Bottleneck, Neck, convolution
from ltrun.network.frozen import freeze, hold_statistics
from ltrun.network.run_weights import of_run
from ltrun.network.weights import load, opened
from ltrun.parts import Backbone, Piece

BLOCKS: Mapping[int, tuple[int, int, int, int]] = {
    10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
}  # fmt: skip
BASIC = (10, 18, 34)  # depths with blocks of two 3x3 convolutions; the others have bottlenecks

PUBLISHED: Mapping[tuple[int, int, int], dict[str, str]] = {  # (depth, groups, width_per_group) -> name -> torchvision's file
    (18, 1, 64): {"IMAGENET1K_V1": "resnet18-f37072fd.pth"},
    (34, 1, 64): {"IMAGENET1K_V1": "resnet34-b627a593.pth"},
    (50, 1, 64): {"IMAGENET1K_V1": "resnet50-0676ba61.pth", "IMAGENET1K_V2": "resnet50-11ad3fa6.pth"},
    (101, 1, 64): {"IMAGENET1K_V1": "resnet101-63fe2227.pth", "IMAGENET1K_V2": "resnet101-cd907fc2.pth"},
    (152, 1, 64): {"IMAGENET1K_V1": "resnet152-394f9c45.pth", "IMAGENET1K_V2": "resnet152-f82ba261.pth"},
    (50, 32, 4): {"IMAGENET1K_V1": "resnext50_32x4d-7cdf4587.pth", "IMAGENET1K_V2": "resnext50_32x4d-1a0047aa.pth"},
    (101, 32, 8): {"IMAGENET1K_V1": "resnext101_32x8d-8ba56ff5.pth", "IMAGENET1K_V2": "resnext101_32x8d-110c445d.pth"},
    (101, 64, 4): {"IMAGENET1K_V1": "resnext101_64x4d-173b62eb.pth"},
}
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=224, interpolation="bilinear")
FREEZABLE = ("stem", "layer1", "layer2", "layer3", "layer4")

Place = tuple[str, str, int, int]  # layer, number in the layer, planes, stride
MakeBlock = Callable[[int, int, int], "Basic | Bottleneck"]  # channels of the input, planes, stride


class ResNet(Backbone):
    """images (B, in_channels, H, W) -> features (B, D); D is 512 for depths 10 to 34, and 2,048 above.

    The networks of torchvision without their last linear layer, with the same names of parameters, so files of weights fit:
    a 7x7 convolution with stride 2 and a max pool (stem 'imagenet'), four layers of which the last three halve the
    resolution, and global average pooling. Bottlenecks halve it in their 3x3 convolution ("v1.5"). `groups` and
    `width_per_group` make a ResNeXt of a bottleneck network. Depth 10 is OLTR's, with one basic block a layer. Stem 'cifar',
    for small images, is a 3x3 convolution without stride or pool. Convolutions are initialised by `kaiming_normal_` (fan
    out); the last normalisation of a block starts at 1, not at 0. weights: a file, its name in torch's hub cache, a name of
    torchvision's, such as IMAGENET1K_V1, or a run of ltrun. sha256: the first digits of the file's SHA-256, which ltrun fills
    in.

    frozen: the last layer, counted from the stem, that no method and no stage trains; its weights are buffers.
    hold_statistics: batch normalisations of maps use their statistics in training too, as mmdetection's `norm_eval`. Both are
    for pre-trained weights: a network from scratch trains as a whole. neck: length of features behind a linear layer,
    batch normalisation and dropout of a share `neck_dropout`, after the pooling; None for none. The frozen layers and the neck
    of Wu et al., 2020 (distribution-balanced loss), arXiv 2007.09654.

    He et al., 2016, arXiv 1512.03385; Xie et al., 2017, arXiv 1611.05431.
    """

    normalised = (("conv1", "bn1"),)
    sides: ClassVar[Mapping[str, tuple[int, int]]] = {"imagenet": (32, 512), "cifar": (8, 96)}
    neck: nn.Module | None

    def __init__(
        self,
        depth: int,
        groups: int = 1,
        width_per_group: int = 64,
        stem: Literal["imagenet", "cifar"] = "imagenet",
        weights: str | None = None,
        sha256: str | None = None,
        download: bool = False,
        frozen: Literal["stem", "layer1", "layer2", "layer3", "layer4"] | None = None,
        hold_statistics: bool = False,
        neck: int | None = None,
        neck_dropout: float = 0.5,
        *,
        in_channels: int,
    ):
        super().__init__()
        _check(depth, groups, width_per_group, neck, neck_dropout)
        self.block: MakeBlock = Basic if depth in BASIC else partial(Bottleneck, groups=groups, width_per_group=width_per_group)
        self.places: list[Place] = [
            (f"layer{layer + 1}", str(number), 64 * 2**layer, 2 if layer and not number else 1)
            for layer, size in enumerate(BLOCKS[depth])
            for number in range(size)
        ]
        self.pools = stem == "imagenet"
        side, stride = (7, 2) if self.pools else (3, 1)
        self.conv1 = nn.Conv2d(in_channels, 64, side, stride, padding=side // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.features = _add(self, self.block, self.places, 64)
        _initialise(self)
        self.shortened = (neck, neck_dropout)
        self.pretrained, self.frozen, self.holds = weights is not None, frozen, hold_statistics
        if weights is None:
            _add_neck(self, *self.shortened)
            return
        path, tensors = opened(weights, sha256, download, _published(depth, groups, width_per_group))
        has_neck = any("neck" in name.split(".") for name in tensors)  # weights of a run that had one
        if has_neck:
            _add_neck(self, *self.shortened)
        load(self, tensors, path)
        if not has_neck:
            _add_neck(self, *self.shortened)
        _hold(self, frozen, hold_statistics)

    @classmethod
    def published(cls, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        return _published(arguments["depth"], arguments.get("groups", 1), arguments.get("width_per_group", 64))

    @classmethod
    def preprocessing(cls, arguments: Mapping[str, Any]) -> Preprocessing | None:
        return None if arguments.get("weights") is None or of_run(arguments["weights"]) else IMAGENET

    @classmethod
    def pixels_of(cls, arguments: Mapping[str, Any]) -> tuple[int, int]:
        return cls.sides[arguments.get("stem", "imagenet")]

    def forward(self, images: Tensor) -> Tensor:
        return _pool(self, _through(self, _stem(self, images)))

    def pieces(self) -> list[Piece]:
        layers: list[Piece] = [(name, layer) for name, layer in self.named_children() if name.startswith("layer")]
        first = layers[0][1]
        return [(layers[0][0], lambda images: first(_stem(self, images))), *layers[1:], ("features", partial(_pool, self))]

    def fork(
        self, after: str, copies: int, width: float | Sequence[float] = 1.0, depth: float | Sequence[float] = 1.0
    ) -> tuple[nn.Module, list[Backbone]]:
        """Cuts after 'stem', 'layer1', 'layer2', 'layer3' or 'penultimate_block' (BBN: only the very last block is not shared),
        or 'inputs'.

        The trunk keeps this network's modules; the branches are new, and start as copies of the layers that they replace if
        those are pre-trained and width and depth are 1. Names stay:
        `trunk.layer2.0.conv1.weight`, `branches.0.layer3.0.conv1.weight`.
        Raises ConfigError for an unknown block and a width without channels.
        """
        last = [max(i for i, place in enumerate(self.places) if place[0] == f"layer{n}") for n in (1, 2, 3)]
        cuts = dict(zip(("layer1", "layer2", "layer3"), (n + 1 for n in last), strict=True))
        cuts |= {"stem": 0, "penultimate_block": len(self.places) - 1}
        if after != INPUTS and after not in cuts:
            raise ConfigError(f"after must name a block of the backbone, got '{after}'{did_you_mean(after, cuts)}")
        cut = 0 if after == INPUTS else cuts[after]
        trunk = nn.Identity() if after == INPUTS else Trunk(self, self.places[:cut])
        branches = list[Backbone]()
        for wide, deep in zip(for_each(width, copies, "width"), for_each(depth, copies, "depth"), strict=True):
            branch = Branch(self, self._places(cut, deep), trunk.channels if isinstance(trunk, Trunk) else None, wide)
            if self.pretrained and (wide, deep) == (1, 1):
                trained, own = self.state_dict(), branch.state_dict()
                branch.load_state_dict({name: new if name.startswith("neck.") else trained[name] for name, new in own.items()})
                _hold(branch, self.frozen, self.holds)
            branches.append(branch)
        return trunk, branches

    def _places(self, cut: int, depth: float) -> list[Place]:
        """Returns the places of the blocks behind a cut in a branch of another depth."""
        layers: dict[str, list[Place]] = {}
        for place in self.places[cut:]:
            layers.setdefault(place[0], []).append(place)
        return [place for layer in layers.values() for place in layer[: kept(len(layer), depth)]]


class Trunk(nn.Module):
    """The modules of a network before the cut of a fork; images -> maps (B, channels, H', W')."""

    normalised = (("conv1", "bn1"),)

    def __init__(self, network: ResNet, places: Iterable[Place]):
        super().__init__()
        self.pools, self.conv1, self.bn1 = network.pools, network.conv1, network.bn1
        self.channels = self.conv1.out_channels
        for layer, number, *_ in places:
            block = network.get_submodule(f"{layer}.{number}")
            assert isinstance(block, Basic | Bottleneck)
            _place(self, layer, number, block)
            self.channels = block.channels

    def forward(self, images: Tensor) -> Tensor:
        return _through(self, _stem(self, images))

    def levels(self, images: Tensor) -> list[Tensor]:
        """Returns the maps after each layer."""
        found = [_stem(self, images)]
        for name, layer in self.named_children():
            found += [layer(found[-1])] if name.startswith("layer") else []
        return found[1:]


class Branch(Backbone):
    """The blocks after the cut of a fork, pooling, and a neck of its own: maps (B, channels, H, W) -> features (B, D).
    channels: None for a whole network, which begins with images."""

    neck: nn.Module | None

    def __init__(self, network: ResNet, places: Sequence[Place], channels: int | None, width: float):
        super().__init__()
        if any(int(width * planes) < 1 for _, _, planes, _ in places):
            raise ConfigError(f"width must leave channels in every block, got {width}")
        self.whole = channels is None
        if channels is None:
            first, channels = network.conv1, int(width * network.conv1.out_channels)
            side, stride = first.kernel_size[0], first.stride[0]
            self.pools, self.normalised = network.pools, (("conv1", "bn1"),)
            self.conv1 = convolution(first.in_channels, channels, side, stride)
            self.bn1 = nn.BatchNorm2d(channels)
        self.features = _add(self, network.block, places, channels, width)
        _initialise(self)
        _add_neck(self, *network.shortened)

    def forward(self, maps: Tensor) -> Tensor:
        return _pool(self, self.maps(maps))

    def maps(self, maps: Tensor) -> Tensor:
        """Returns the last maps, which `forward` pools."""
        return _through(self, _stem(self, maps) if self.whole else maps)


def _published(depth: int, groups: int, width_per_group: int) -> dict[str, str]:
    files = PUBLISHED.get((depth, groups, width_per_group), {})
    return {name: f"https://download.pytorch.org/models/{file}" for name, file in files.items()}


def _add(module: nn.Module, block: MakeBlock, places: Iterable[Place], channels: int, width: float = 1.0) -> int:
    """Adds new blocks to a module, the first for maps of `channels` channels. Returns the channels of the last block."""
    for layer, number, planes, stride in places:
        made = block(channels, int(width * planes), stride)
        _place(module, layer, number, made)
        channels = made.channels
    return channels


def _place(module: nn.Module, layer: str, number: str, block: nn.Module) -> None:
    """Makes a block the submodule `layer.number`; a branch may have blocks 1 and 2 of a layer without block 0."""
    if not hasattr(module, layer):
        module.add_module(layer, nn.Sequential())
    module.get_submodule(layer).add_module(number, block)


def _stem(network: ResNet | Trunk | Branch, images: Tensor) -> Tensor:
    maps = norm_relu(network.bn1, network.conv1(images))
    return F.max_pool2d(maps, kernel_size=3, stride=2, padding=1) if network.pools else maps


def _through(network: nn.Module, maps: Tensor) -> Tensor:
    for name, layer in network.named_children():
        if name.startswith("layer"):
            maps = layer(maps)
    return maps


def _pool(network: ResNet | Branch, maps: Tensor) -> Tensor:
    """Returns the features of the last maps: their means, behind the neck if there is one."""
    features = maps.mean(dim=(2, 3))
    return features if network.neck is None else network.neck(features)


def _add_neck(network: ResNet | Branch, length: int | None, dropout: float) -> None:
    network.neck = None if length is None else Neck(network.features, length, dropout)
    network.features = network.features if length is None else length


def _hold(network: ResNet | Branch, frozen: str | None, statistics: bool) -> None:
    """Freezes the layers up to `frozen`, with their statistics, and the statistics of all of them if `statistics`."""
    layers = FREEZABLE[: FREEZABLE.index(frozen) + 1] if frozen else ()
    for name, layer in network.named_children():
        if name in layers or (layers and name in ("conv1", "bn1")):
            freeze(layer)
            hold_statistics(layer)
        elif statistics:
            hold_statistics(layer)


def _check(depth: int, groups: int, width_per_group: int, neck: int | None, dropout: float) -> None:
    """Raises ConfigError for arguments that make no sense."""
    if depth not in BLOCKS:
        raise ConfigError(f"depth must be one of {', '.join(map(str, BLOCKS))}, got {depth}")
    if depth in BASIC and (groups, width_per_group) != (1, 64):
        raise ConfigError(f"groups and width_per_group are for depths of at least 50; remove them, or raise depth from {depth}")
    if groups < 1 or width_per_group < 1:
        raise ConfigError(f"groups and width_per_group must be at least 1, got {groups} and {width_per_group}")
    if neck is not None and neck < 1:
        raise ConfigError(f"neck must be at least 1, or null for none, got {neck}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"neck_dropout must be at least 0 and below 1, got {dropout}")


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
