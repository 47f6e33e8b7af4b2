"""Losses of single parts of re-weighting: at a given epoch, and after a step."""

import torch
from torch import Tensor

from ltrun.loss import Classification
from ltrun.parts import Adjust, Criterion, Part, Weigh
from ltrun.reweighting import InfluenceBalanced, InverseFrequency
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class with a single image, one with none
AS_IT_IS = 0.5  # initial probability; its logit is 0


def influence_balanced(stats: ClassStats) -> InfluenceBalanced:
    return InfluenceBalanced(InverseFrequency(stats=stats))


def at_epoch(part: Part, epoch: int, epochs: int = 200) -> Part:
    for module in part.modules():
        if isinstance(module, Part):
            module.adapt(blind_view(Clock("train", epoch, epochs), STATS))
    return part


def composed(part: Part) -> Classification:
    return Classification(
        adjusts=[part] if isinstance(part, Adjust) else [],
        weighs=[part] if isinstance(part, Weigh) else [],
        criterion=part if isinstance(part, Criterion) else None,
    )


def outputs_of(logits: Tensor) -> Outputs:
    features = torch.linspace(-2, 2, 3 * len(logits)).reshape(len(logits), 3).to(logits.dtype)
    return Outputs(features=features, logits=logits)


def loss_of(part: Part, logits: Tensor, labels: list[int]) -> Tensor:
    return composed(part).loss(logits, Labels.hard(torch.tensor(labels)), outputs_of(logits))


def step(part: Part, logits: Tensor, labels: Labels) -> None:
    part.after_step({"main": Outputs(logits=logits)}, {"main": Batch(logits, labels, torch.arange(len(logits)))})
