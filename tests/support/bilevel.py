"""A small bilevel problem in float64: a network, a balanced batch beside an unbalanced one, and difference quotients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ltrun.classifier import Linear
from ltrun.engine.objective import Objective
from ltrun.engine.precision import Precision
from ltrun.engine.update import Bilevel
from ltrun.loss import Classification
from ltrun.network import Plain, ResNetCIFAR
from ltrun.parts import Backbone, Network, Prepare
from ltrun.types import Batch, ClassStats, Labels

COUNTS = torch.tensor([40, 12, 5])
STATS = ClassStats(COUNTS)
CLASSES, PIXELS, RATE = 3, 64, 0.3


class Flat(Backbone):
    """The pixels are the features."""

    features = PIXELS

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Doubles(Prepare):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.double() / 128 - 1


def network(depth: int | None) -> Network:
    """A linear classifier, or a residual network with batch normalisation, in float64."""
    torch.manual_seed(0)
    backbone = Flat() if depth is None else ResNetCIFAR(depth, width=2, in_channels=1)
    return Plain(backbone=backbone, make_head=lambda features: Linear(features=features, num_classes=CLASSES)).double()


def objective(classification: Classification, depth: int | None) -> Objective:
    return Objective(
        network(depth),
        Doubles(),
        {name: [] for name in STREAMS},
        {},
        {"classification": classification},
        {"classification": 1.0},
        Precision("fp32", torch.device("cpu")),
    )


def batch(seed: int, labels: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (len(labels), 1, 8, 8), generator=generator, dtype=torch.uint8)
    return Batch(images, Labels.hard(torch.tensor(labels)), torch.arange(len(labels)))


STREAMS = {"main": batch(2, [0, 0, 0, 0, 1, 1, 2]), "meta": batch(3, [0, 1, 2, 0, 1, 2])}


def outer_gradient(goal: Objective, virtual: tuple[str, ...] = ("*",)) -> tuple[Tensor, list[nn.Parameter]]:
    """Returns the gradient of the meta loss after a virtual step of RATE, and the outer parameters."""
    parts = [module for module in goal.modules() if getattr(module, "outer", False)]
    phi = [parameter for part in parts for parameter in part.parameters()]
    values, _, prepared = goal(STREAMS)
    bilevel = Bilevel(virtual=virtual, outer=phi)
    return bilevel.outer_gradient(goal, values["total"], prepared["meta"], dict.fromkeys(goal.network.parameters(), RATE)), phi


def differences(function: Callable[[], float], phi: list[nn.Parameter], eps: float = 1e-5) -> Tensor:
    """Central differences of `function`, which reads phi, in each entry of phi."""
    found = []
    for parameter in phi:
        for entry in parameter.data.view(-1).unbind():  # views: writing to them moves the parameter
            kept, ends = entry.item(), []
            for sign in (1, -1):
                entry.fill_(kept + sign * eps)
                ends.append(function())
            entry.fill_(kept)
            found.append((ends[0] - ends[1]) / (2 * eps))
    return torch.tensor(found, dtype=torch.float64)
