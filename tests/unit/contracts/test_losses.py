"""Contracts of class re-balancing: for each a part that breaks it, and the sentence that reports it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.contracts import losses
from ltrun.contracts.contract import Contract
from ltrun.contracts.library import Choice
from ltrun.contracts.stand_ins import DTYPES
from ltrun.errors import ConfigError
from ltrun.parts import Adjust, Part
from ltrun.types import ClassStats, Outputs, View
from tests.support.mypackage import option, sentence_of, target

SINGLE, _ = DTYPES


def adjusting(folder: Path, part: type[Part], **arguments: Any) -> Choice:
    return option(folder, "logit_adjustment", {"adjust": target(part, **arguments)})


class Counted(Adjust):
    """Adds `of(counts)`, (C,), to the logits."""

    def __init__(self, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("added", self.of(stats.counts.double()).float())
        self.added: Tensor

    def of(self, counts: Tensor) -> Tensor:
        return counts.clamp(min=1).log() * 0

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + self.added


class Infinite(Counted):
    def of(self, counts: Tensor) -> Tensor:
        return 1 / counts


class OneImage(Counted):
    def of(self, counts: Tensor) -> Tensor:
        return counts.clamp(min=1).log()


class Root(Counted):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + (logits - logits).abs().sqrt()


class Detached(Counted):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits.detach()


class Flat(Counted):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return 0 * logits


class Learnt(Counted):
    def __init__(self, *, stats: ClassStats):
        super().__init__(stats=stats)
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + self.shift.abs().sqrt()


class Diverging(Counted):
    def after_step(self, outputs: Any, streams: Any) -> None:
        self.added.fill_(torch.inf)


class Rounded(Counted):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return (logits + 4096).to(logits.dtype) - 4096


class Looped(Counted):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return torch.stack([logits[:, c] + 0 for c in range(logits.shape[1])], 1)


class Shrunk(Counted):
    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits[:, :3]


class Early(Counted):
    def adapt(self, view: View) -> None:
        self.added.fill_(view.clock.epochs == 1)
        self.added[0] = 0


class Curious(Counted):
    """Looks at images and at the network between epochs."""

    def adapt(self, view: View) -> None:
        batch = view.open(torch.arange(8))
        self.added.copy_(view.predict(batch.inputs).need("logits").mean(0) * 0)


class Scaled(Adjust):
    """Multiplies the logits by 10 ** gamma."""

    def __init__(self, gamma: float = 0.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits * torch.tensor(10.0) ** self.gamma


class Nameless(Scaled):
    def __init__(self, gamma: float = 0.0):
        super().__init__(gamma)
        if gamma:
            raise ConfigError("no such value")


class Foreign(Scaled):
    def __init__(self, gamma: float = 0.0):
        super().__init__(gamma)
        if gamma:
            raise ValueError("no such value")


class Refusing(Scaled):
    def __init__(self, gamma: float = 0.0):
        super().__init__(gamma)
        if gamma:
            raise ConfigError(f"gamma must be 0, got {gamma}")


@pytest.mark.parametrize("part", [Counted, Curious, Refusing])
def test_all_contracts_of_a_correct_part_hold(part: type[Part], tmp_path: Path) -> None:
    contracts = list(losses.of_a_loss(adjusting(tmp_path, part)))
    assert len(contracts) == 7 and all(isinstance(contract, Contract) for contract in contracts)
    for contract in contracts:
        contract.check()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Infinite, "logit_adjustment=mine, batch of one, counts [500, 60, 9, 1, 0], epoch 1 of 200, float32: the loss is nan"),
        (Root, "the gradient of the logits is not finite; count a class without images as the rarest (ltrun.types.as_rarest)"),
        (Detached, "the loss does not depend on the logits; compute it from the logits that forward gets"),
        (Flat, "the gradient of the logits is zero, so nothing is learnt"),
        (Learnt, "the gradient of the parameter 'terms.0.adjusts.0.shift' is not finite"),
        (Diverging, "the state 'terms.0.adjusts.0.added' is not finite after a step"),
    ],
)
def test_a_loss_gradient_or_state_that_is_not_finite_is_reported(part: type[Part], said: str, tmp_path: Path) -> None:
    assert said in sentence_of(losses.stays_finite, adjusting(tmp_path, part), SINGLE)


def test_an_adjustment_that_bfloat16_rounds_away_is_reported(tmp_path: Path) -> None:
    sentence = sentence_of(losses.half_is_near_single, adjusting(tmp_path, Rounded))
    assert "in bfloat16, whose rounding hides the option; compute in float32 (ltrun.numerics.widened)" in sentence


def test_a_loop_over_classes_is_reported(tmp_path: Path) -> None:
    sentence = sentence_of(losses.takes_no_loop, adjusting(tmp_path, Looped))
    assert "tensor operations with few classes and" in sentence and "without a loop over them" in sentence


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            OneImage,
            "turns a logit of 15 into 15 for a class without images, and into 16.39 for the rarest class with images",
        ),
        (Infinite, "turns a logit of 15 into inf for a class without images, and into"),
        (Shrunk, "returns (2, 3) for logits of shape (2, 5); return logits of the same shape"),
    ],
)
def test_an_adjustment_of_a_class_without_images_unlike_the_rarest_is_reported(
    part: type[Part], said: str, tmp_path: Path
) -> None:
    assert said in sentence_of(losses.empty_is_rarest, adjusting(tmp_path, part))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Scaled, "logit_adjustment.adjust.gamma=60: tests.unit.contracts.test_losses.Scaled gives inf; refuse such a value"),
        (
            Foreign,
            "gamma=1e-06 is refused by ValueError; raise ltrun.errors.ConfigError(f'gamma must be ..., got {gamma}') instead",
        ),
        (Nameless, "logit_adjustment.adjust.gamma=1e-06 is refused by a sentence that does not name 'gamma': "),
    ],
)
def test_an_extreme_argument_with_infinite_logits_or_a_vague_refusal_is_reported(
    part: type[Part], said: str, tmp_path: Path
) -> None:
    assert said in sentence_of(losses.extremes_are_refused_or_finite, adjusting(tmp_path, part, gamma=0.0))


def test_an_adjustment_that_depends_on_the_length_of_the_stage_is_reported(tmp_path: Path) -> None:
    sentence = sentence_of(losses.begins_alike, adjusting(tmp_path, Early))
    assert "in a stage of one epoch and" in sentence and "switch by view.clock.passed(fraction)" in sentence


class Seedless(Counted):
    """Draws from a generator of its own."""

    generator = torch.Generator()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits * torch.rand((), generator=self.generator)


def test_an_adjustment_with_a_generator_of_its_own_is_reported(tmp_path: Path) -> None:
    sentence = sentence_of(losses.begins_alike, adjusting(tmp_path, Seedless))
    assert "the same step has the losses" in sentence and "draw random numbers from torch's default generator" in sentence


@pytest.mark.parametrize("check", [losses.half_is_near_single, losses.begins_alike])
def test_a_loss_of_nan_is_reported_as_such_by_every_contract(check: Callable[[Choice], None], tmp_path: Path) -> None:
    sentence = sentence_of(check, adjusting(tmp_path, Infinite))
    assert sentence.startswith("logit_adjustment=mine: the loss is nan; count a class without images as the rarest")
