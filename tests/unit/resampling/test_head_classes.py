"""Head-class sampling, and the two stages of unequal training that use it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ltrun.resampling import HeadClasses
from ltrun.types import ClassStats, Clock, Labels
from tests.support.cases import bound, composed, small, trainer

COUNTS = torch.tensor([50, 30, 10, 6, 4])
CLOCK = Clock("head", 0, 5)


@pytest.mark.parametrize(("share", "classes"), [(0.9, [0, 1, 2]), (0.85, [0, 1]), (0.3, [0])])
def test_each_image_of_the_head_classes_is_drawn_once(share: float, classes: list[int]) -> None:
    targets = Labels.hard(
        torch.arange(5).repeat_interleave(COUNTS)[torch.randperm(100, generator=torch.Generator().manual_seed(1))]
    )
    sampler = HeadClasses(share, stats=ClassStats(COUNTS))
    rows = sampler.draw(targets, CLOCK, torch.Generator().manual_seed(0))
    expected = torch.isin(targets.labels, torch.tensor(classes)).nonzero()[:, 0]
    assert torch.equal(rows.sort().values, expected) and not torch.equal(rows, expected), "in random order"
    assert torch.equal(rows, sampler.draw(targets, CLOCK, torch.Generator().manual_seed(0)))


def test_unequal_training_draws_the_head_first_and_then_lowers_the_rate_of_the_backbone(tmp_path: Path) -> None:
    recipe = bound(small(composed("method=unequal_training"), epochs=4))
    assert [(stage.name, stage.epochs) for stage in recipe.stages] == [("head", 2), ("train", 4)]
    made = trainer(recipe, tmp_path)
    network = made.network()
    first, second = (made.begin(network, stage, index) for index, stage in enumerate(recipe.stages))
    assert isinstance(first.samplers["main"], HeadClasses) and not isinstance(second.samplers["main"], HeadClasses)
    (rate,) = {group["lr"].item() for group in first.optimizer.param_groups}
    names = {id(p): name for name, p in network.named_parameters()}
    rates = {names[id(p)]: group["lr"].item() for group in second.optimizer.param_groups for p in group["params"]}
    for name, found in rates.items():
        assert found == pytest.approx(rate if "head" in name else rate / 10), name
