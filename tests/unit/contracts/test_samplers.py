"""Contracts of samplers: for each a sampler that breaks it, and the sentence that reports it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltrun.contracts import samplers
from ltrun.contracts.library import Choice
from ltrun.contracts.stand_ins import FIRST
from ltrun.errors import ConfigError
from ltrun.parts import Sampler
from ltrun.types import Clock, Labels
from tests.support.mypackage import option, sentence_of, target


class Shuffled(Sampler):
    """Every row once, in an order of its own."""

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(targets), generator=generator)


class Global(Sampler):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(targets))


class Wasteful(Shuffled):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        torch.rand(1)
        return super().draw(targets, clock, generator)


class Fixed(Sampler):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.arange(len(targets))


class Remembering(Shuffled):
    asked = 0

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        self.asked += 1
        return super().draw(targets, clock, generator).roll(self.asked // 2)


class Looping(Shuffled):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        rows = super().draw(targets, clock, generator)
        for _ in range(int(targets.labels.max())):
            rows = rows + 0
        return rows


class Few(Shuffled):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return super().draw(targets, clock, generator)[:10]


class Beyond(Shuffled):
    """Adds `shift` to every row number."""

    def __init__(self, shift: float = 0.0):
        super().__init__()
        self.shift = shift

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return super().draw(targets, clock, generator) + int(self.shift)


class Nameless(Beyond):
    def __init__(self, shift: float = 0.0):
        super().__init__(shift)
        if shift:
            raise ConfigError("no such value")


class Early(Shuffled):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return super().draw(targets, clock, generator).roll(1 if clock.epochs == 1 else 0)


def sampling(folder: Path, part: type[Sampler], **arguments: float) -> Choice:
    return option(folder, "resampling", {"sampler": target(part, **arguments)})


def test_all_contracts_of_a_correct_sampler_hold(tmp_path: Path) -> None:
    contracts = list(samplers.of_a_sampler(sampling(tmp_path, Shuffled)))
    assert len(contracts) == 5
    for contract in contracts:
        contract.check()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Global, "Global.draw gives different rows for generators of the same seed; draw from the generator argument only"),
        (Wasteful, "Wasteful.draw draws from torch's default generator"),
        (Fixed, "Fixed.draw gives the same rows for every seed, so all epochs have one order"),
        (Remembering, "Remembering.draw depends on the number of earlier calls; keep no count"),
    ],
)
def test_rows_that_do_not_depend_on_the_generator_alone_are_reported(part: type[Sampler], said: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    assert said in sentence_of(samplers.draws_by_its_generator, sampling(tmp_path, part), FIRST)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Looping, "with few classes or images and"),
        (Few, "Few draws 10 rows where the set has 20,000; draw as many, or those of a shot group"),
    ],
)
def test_a_loop_over_classes_or_a_short_epoch_is_reported(part: type[Sampler], said: str, tmp_path: Path) -> None:
    assert said in sentence_of(samplers.draws_without_a_loop, sampling(tmp_path, part))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Beyond, "resampling.sampler.shift=60: the sampler, Beyond, draws row 632, but the rows are 0 to 572"),
        (Nameless, "resampling.sampler.shift=1e-06 is refused by a sentence that does not name 'shift'"),
    ],
)
def test_an_extreme_argument_with_invalid_rows_or_a_vague_refusal_is_reported(
    part: type[Sampler], said: str, tmp_path: Path
) -> None:
    assert said in sentence_of(samplers.extremes_draw_rows, sampling(tmp_path, part, shift=0.0))


def test_rows_that_depend_on_the_length_of_the_stage_are_reported(tmp_path: Path) -> None:
    sentence = sentence_of(samplers.draws_alike, sampling(tmp_path, Early))
    assert "draws other rows in the first epoch of a stage of one epoch than of a stage of 200" in sentence
