"""Sampling of one shot group: which classes it has, each image once, and refusals."""

import pytest
import torch

from ltrun.errors import ConfigError
from ltrun.metrics import GROUPS
from ltrun.resampling import ShotGroup
from ltrun.resampling.shot_group import shot_groups
from ltrun.types import ClassStats, Clock, Labels


def groups(*counts: int) -> list[list[int]]:
    found = shot_groups(ClassStats(torch.tensor(counts)))
    assert list(found) == list(GROUPS)
    return [mask.nonzero()[:, 0].tolist() for mask in found.values()]


def test_groups_are_shots_if_each_has_images_and_thirds_by_count_otherwise() -> None:
    assert groups(500, 60, 9, 1, 0) == [[0], [1], [2, 3, 4]]
    assert groups(500, 400, 60, 30, 90) == [[0, 1], [2, 4], [3]], "no class is few-shot"
    assert groups(500, 60, 30, 0, 0) == [[0], [1], [2, 3, 4]], "the few-shot classes have no images"
    assert groups(7, 7, 7) == [[0], [1], [2]]
    with pytest.raises(ConfigError, match="need at least three classes with images; there are 2"):
        groups(500, 0, 9)


@pytest.mark.parametrize("shots", GROUPS)
def test_each_image_of_the_group_comes_once(shots: str) -> None:
    counts = torch.tensor([500, 60, 9, 1, 0])
    labels = torch.arange(5).repeat_interleave(counts)
    sampler = ShotGroup(shots, stats=ClassStats(counts))  # type: ignore[arg-type]
    draws = [sampler.draw(Labels.hard(labels), Clock("train", 0, 2), torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    wanted = torch.isin(labels, shot_groups(ClassStats(counts))[shots].nonzero()[:, 0]).nonzero()[:, 0]
    for rows in draws:
        assert torch.equal(rows.sort().values, wanted)
    assert not torch.equal(*draws)
