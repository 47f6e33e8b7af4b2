"""Manifold mixup: one place for each batch, the same shares for maps and labels, on the way through a network."""

import pytest
import torch
from torch import nn

from ltrun.augmentation import ManifoldMixup
from ltrun.classifier import Linear
from ltrun.engine.pieces import mixed_on_the_way
from ltrun.errors import ConfigError
from ltrun.network import Plain, ResNetCIFAR
from ltrun.targets import one_label
from tests.support.photographs import batch_of

POINTS = ("inputs", "layer1", "layer2", "features")


def test_a_batch_is_mixed_at_one_of_the_places() -> None:
    """Each place, against a pass that stops there, mixes and goes on."""
    torch.manual_seed(0)
    network = Plain(
        backbone=ResNetCIFAR(8, 4, in_channels=1), make_head=lambda features: Linear(features=features, num_classes=4)
    ).eval()
    batch = batch_of(torch.randn(4, 1, 8, 8), torch.arange(4))
    part, seen = ManifoldMixup(points=POINTS), set()
    for _ in range(30):
        mixers = nn.ModuleDict({"manifold_mixup": part})
        outputs, streams, further = mixed_on_the_way(
            network, mixers, {"main": batch}, ["main"], lambda piece, streams, need, _: piece(streams, need)
        )
        targets = one_label(streams["main"].targets)
        assert targets.index.shape == (4, 2) and further == {}
        assert torch.equal(targets.index[:, 1], torch.arange(4).flip(0)) and (targets.weight[:, 0] == part.keep).all()
        chosen = POINTS[int(part.chosen)]
        seen.add(chosen)
        maps = batch.inputs
        for place, piece in [("inputs", torch.clone), *network.pieces()]:
            maps = piece(maps)
            if place == chosen:
                maps = part.keep * maps + (1 - part.keep) * maps.flip(0)
        torch.testing.assert_close(outputs["main"].need("logits"), network.decide(maps).need("logits"), rtol=1e-4, atol=1e-5)
    assert seen == set(POINTS)


@pytest.mark.parametrize("points", [[], ["inputs", "inputs"], ["layer1", "inputs"], ["features", "layer1"]])
def test_places_without_sense_are_refused(points: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^points must"):
        ManifoldMixup(points=points)
