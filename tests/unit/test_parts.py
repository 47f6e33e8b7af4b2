"""Rules for parts: a part changes only itself, and returns a tensor of the needed shape and type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ltrun.errors import TrainingError
from ltrun.logit_adjustment import BalancedSoftmax, LogitAdjustment
from ltrun.loss import Classification
from ltrun.margin import LDAM
from ltrun.parts import Adjust, Part, Weigh
from ltrun.reweighting import EffectiveNumber, InverseFrequency
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.cases import COUNTS, assembled, bound, small, trainer
from tests.support.narrow import of_type


@pytest.mark.parametrize(
    "kind", [LDAM, BalancedSoftmax, LogitAdjustment, EffectiveNumber, InverseFrequency], ids=lambda kind: kind.__name__
)
def test_a_part_changes_only_itself(kind: type) -> None:
    """All parts share the class counts."""
    given = ClassStats(COUNTS.clone())
    made: Adjust | Weigh = kind(stats=given)
    logits = torch.randn(4, 10)
    before = logits.clone()
    made(logits, torch.tensor([0, 1, 2, 9]), Outputs(logits=logits, scale=30.0))
    assert torch.equal(given.counts, COUNTS) and torch.equal(logits, before)


class Returns(Part):
    """A part of any kind that returns the result given to its constructor."""

    mean = "batch"
    balances = False

    def __init__(self, result: Any):
        super().__init__()
        self.result = result

    def forward(self, *_: object) -> Any:
        return self.result


B, C = 4, 10


@pytest.mark.parametrize("shape", [(), (1,), (B, 1), (1, B)])
def test_weights_and_losses_that_would_be_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    """(B, 1) times (B,) is (B, B): torch would compute another loss without an error."""
    outputs, targets = Outputs(logits=torch.randn(B, C)), Labels.hard(torch.arange(B))
    part = Returns(torch.ones(shape))
    for classify in (Classification(weighs=[part]), Classification(criterion=part)):  # type: ignore[list-item, arg-type]
        with pytest.raises(TrainingError, match=r"Returns returns a tensor of shape .*\(4,\) is needed"):
            classify({"main": outputs}, {"main": Batch(torch.zeros(B), targets, torch.arange(B))})


def test_a_part_that_returns_nothing_is_refused() -> None:
    outputs, targets = Outputs(logits=torch.randn(B, C)), Labels.hard(torch.arange(B))
    with pytest.raises(TrainingError, match=r"Returns returns NoneType.* a tensor of shape \(4, 10\)"):
        Classification(adjusts=[Returns(None)]).loss(torch.randn(B, C), targets, outputs)  # type: ignore[list-item]


@pytest.mark.parametrize("shape", [(B, 2 * C), (B, 1), (C,)])
def test_logits_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    outputs, targets = Outputs(logits=torch.randn(B, C)), Labels.hard(torch.arange(B))
    with pytest.raises(TrainingError, match=r"Returns returns a tensor of shape .*\(4, 10\) is needed"):
        classification = Classification(adjusts=[Returns(torch.ones(shape))])  # type: ignore[list-item]
        classification.loss(torch.randn(B, C), targets, outputs)


def test_a_term_must_be_a_scalar_and_augmented_images_must_stay_bytes(tmp_path: Path) -> None:
    made = trainer(bound(small(assembled({}))), tmp_path)
    run = made.begin(made.network(), made.recipe.stages[0], 0)
    batch = next(made.context.splits.train.open([torch.arange(8)]))
    run.objective.terms["more"], run.objective.weights["more"] = Returns(torch.ones(1)), 1.0
    with pytest.raises(TrainingError, match=r"Returns returns a tensor of shape \(1,\)"):
        run.objective({"main": batch})
    of_type(nn.Sequential, run.objective.augments["main"]).append(Returns(batch.replace(inputs=batch.inputs.float())))
    with pytest.raises(TrainingError, match=r"Returns returns torch\.float32, where torch\.uint8 is needed"):
        run.objective({"main": batch})
