"""Every kind of network, small, with streams for it."""

from collections.abc import Callable

import torch
from torch import Tensor

from ltrun.classifier import Linear
from ltrun.network import Bilateral, Experts, Momentum, Plain, Projected, Projector, ResNetCIFAR
from ltrun.parts import Backbone, Head, Network
from ltrun.types import Batch, ClassStats, Clock, Labels, View
from tests.support.cases import blind_view
from tests.support.narrow import present

CLASSES = 5
STREAMS = ("main", "reversed", "key")


def make_head(features: int) -> Head:
    return Linear(features=features, num_classes=CLASSES)


def backbone(in_channels: int = 3, depth: int = 8) -> Backbone:
    return ResNetCIFAR(depth, in_channels=in_channels)


def plain(in_channels: int) -> Network:
    return Plain(backbone=backbone(in_channels), make_head=make_head)


def projected(in_channels: int) -> Projected:
    body = backbone(in_channels)
    return Projected(Projector(out=16, backbone=body), backbone=body, make_head=make_head)


def experts(in_channels: int) -> Network:
    return Experts(backbone=backbone(in_channels), make_head=make_head)


def bilateral(in_channels: int) -> Network:
    return Bilateral(backbone=backbone(in_channels), make_head=make_head)


def momentum(in_channels: int) -> Network:
    return Momentum(projected(in_channels))


Make = Callable[[int], Network]


def streams_of(size: int = 4, channels: int = 3, pixels: int = 8) -> dict[str, Batch]:
    def batch() -> Batch:
        labels = torch.arange(size) % CLASSES
        return Batch(torch.randn(size, channels, pixels, pixels), Labels.hard(labels), torch.arange(size))

    return {name: batch() for name in STREAMS}


def logits_of(network: Network, images: Tensor) -> Tensor:
    return present(network.predict(images).logits)


def view(epoch: int, epochs: int) -> View:
    stats = ClassStats(torch.ones(CLASSES, dtype=torch.int64))
    return blind_view(Clock("joint", epoch, epochs), stats)
