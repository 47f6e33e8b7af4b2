"""The loss of an option of class re-balancing without a network, and class counts at the edges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.loss import Classification
from ltrun.parts import Part
from ltrun.recipe.stage import MAIN, Stage
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import assembled, blind_view, bound

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none
SMALL, INATURALIST = 3, 8_142
FIRST, LAST = Clock("train", 0, 200), Clock("train", 199, 200)  # before and after every deferred switch
DTYPES = [torch.float32, torch.bfloat16]
BATCHES = {"batch of one": [3], "one class": [0, 0, 0], "no class 4": [0, 1, 2, 3, 3]}
SCALE, FEATURES = 30.0, 16


def tail(classes: int) -> ClassStats:
    return ClassStats((1000 * torch.arange(1, classes + 1) ** -0.9).long().clamp(min=2))


class Loss(nn.Module):
    """The classification loss, further terms and sampler of an option, as the trainer builds them, without a network."""

    def __init__(self, stage: Stage, stats: ClassStats):
        super().__init__()
        context: dict[str, Any] = {"stats": stats, "num_classes": stats.num_classes}
        main = stage.streams[MAIN].sampler
        assert main is not None
        self.sampler = context["sampler"] = main.build(context)
        criterion = stage.criterion.build(context) if stage.criterion else None
        adjusts, weighs = [part.build(context) for part in stage.adjusts], [part.build(context) for part in stage.weighs]
        classification = Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)
        context["classify"] = classification
        self.terms = nn.ModuleList([classification, *(part.build(context) for _, part in stage.terms.values())])
        self.stats = stats

    def parts(self) -> Iterator[Part]:
        return (module for module in self.modules() if isinstance(module, Part))

    def adapt(self, clock: Clock) -> None:
        for part in self.parts():
            part.adapt(blind_view(clock, self.stats))

    def forward(self, outputs: Outputs, labels: list[int]) -> Tensor:
        streams = {MAIN: batch(labels)}
        return torch.stack([term({MAIN: outputs}, streams).float() for term in self.terms]).sum()

    @torch.no_grad()
    def after_step(self, outputs: Outputs, labels: list[int]) -> None:
        for part in self.parts():
            part.after_step({MAIN: outputs.detach()}, {MAIN: batch(labels)})


def batch(labels: list[int]) -> Batch:
    return Batch(torch.zeros(len(labels), 1, 2, 2), Labels.hard(torch.tensor(labels)), torch.arange(len(labels)))


def outputs_of(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> Outputs:
    """What a cosine head says of random features; the logits are a leaf."""
    generator = torch.Generator().manual_seed(rows)
    features, head = torch.randn(rows, FEATURES, generator=generator), torch.randn(classes, FEATURES, generator=generator)
    logits = SCALE * nn.functional.normalize(features, dim=1) @ nn.functional.normalize(head, dim=1).T
    return Outputs(features.to(dtype), logits.to(dtype).requires_grad_(), SCALE, head.to(dtype))


def loss_of(slot: str, option: str, stats: ClassStats) -> Loss:
    torch.manual_seed(0)
    needed = {"classifier": "cosine"} if slot == "margin" else {}
    return Loss(bound(assembled({slot: option, **needed})).stages[0], stats)
