"""CUDA in training on digits: levels move, survive a stop, and are the same for the same seed."""

from pathlib import Path

import torch
from torch import Tensor

from ltrun.augmentation import CUDA
from ltrun.contracts.presets import resumes
from ltrun.engine.stage import StageRun
from ltrun.recipe.stage import Recipe
from ltrun.types import Clock
from tests.support.cases import bound, composed, small, trainer

EASY = ("method=cuda", "augmentation.augments.cuda.accept=0.0", "augmentation.augments.cuda.tests=2")  # one right image will do


def levels_of_epochs(recipe: Recipe, folder: Path, epochs: int) -> list[Tensor]:
    made = trainer(recipe, folder)
    run = StageRun.of(recipe.stages[0], made.network(), made.context)
    (part,) = [part for part in run.parts if isinstance(part, CUDA)]
    found = []
    for epoch in range(epochs):
        run.epoch(Clock("train", epoch, epochs))
        found.append(part.level.clone())
    return found


def test_levels_move_one_by_one_and_alike_for_the_same_seed(tmp_path: Path) -> None:
    recipe = bound(small(composed(*EASY), epochs=4))
    levels, again = (levels_of_epochs(recipe, tmp_path / name, 4) for name in ("one", "two"))
    assert all(torch.equal(one, two) for one, two in zip(levels, again, strict=True))
    assert int(levels[-1].max()) > 0, "no level rose"
    stacked = torch.stack(levels)
    steps = stacked.diff(dim=0)
    assert set(steps.unique().tolist()) <= {-1, 0, 1}
    assert ((steps != 0) | (stacked[:-1] == 0)).all(), "a level above 0 never stays"


def test_a_stopped_run_keeps_its_levels(tmp_path: Path) -> None:
    resumes(bound(small(composed(*EASY), epochs=4)), tmp_path)
