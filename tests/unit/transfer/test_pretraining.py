"""Pre-training by rotation and by momentum contrast: what a stage learns, and what it leaves to the next."""

from pathlib import Path

import pytest
import torch

from ltrun.errors import ConfigError
from ltrun.recipe.read import recipe_of
from ltrun.transfer import MoCo, RotationPrediction, Rotations
from ltrun.transfer.rotation import rotate
from ltrun.types import Clock, Outputs
from tests.support.cases import bound, composed, small, trainer
from tests.support.photographs import batch_of


def test_the_four_turns_are_equally_frequent_and_name_the_rotation() -> None:
    torch.manual_seed(0)
    images = torch.randn(10, 1, 4, 4)
    mixed = Rotations()({"main": batch_of(images, torch.full((10,), 7))})["main"]
    turns = mixed.targets.labels
    assert mixed.targets.index.shape == (10, 1) and set(turns.bincount(minlength=4).tolist()) <= {2, 3, 1}
    for image, rotated, turn in zip(images, mixed.inputs, turns.tolist(), strict=True):
        assert torch.equal(rotated, image.rot90(turn, (1, 2)))
    orders = {tuple(Rotations()({"main": batch_of(images)})["main"].targets.labels.tolist()) for _ in range(5)}
    assert len(orders) > 1


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(ConfigError, match="transfer=ssp rotates square images; these have 2 x 4 pixels"):
        rotate(torch.zeros(1, 1, 2, 4), torch.zeros(1, dtype=torch.long))


def test_the_rotation_is_predicted_by_a_layer_of_its_own() -> None:
    torch.manual_seed(0)
    part, batch = RotationPrediction(features=6), batch_of(torch.zeros(8, 1, 2, 2), torch.arange(8) % 4)
    features = torch.randn(8, 6, requires_grad=True)
    loss = part({"main": Outputs(features=features)}, {"main": batch})
    loss.backward()
    expected = -part.turns(features).log_softmax(1)[torch.arange(8), batch.targets.labels].mean()
    torch.testing.assert_close(loss, expected)
    assert features.grad is not None and part.turns.weight.grad is not None


def test_moco_ignores_empty_slots_and_fills_them_by_the_steps_keys() -> None:
    part = MoCo(queue=3, dim=2)
    unit = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    outputs = {"main": Outputs(embedding=unit), "key": Outputs(embedding=unit)}
    batch = {name: batch_of(torch.zeros(2, 1, 2, 2)) for name in outputs}
    assert part(outputs, batch) == 0, "without negatives the own key is all there is"
    part.after_step(outputs, batch)
    assert part.filled.tolist() == [True, True, False] and torch.equal(part.keys[:2], unit)
    assert part(outputs, batch) > 0
    with pytest.raises(ConfigError, match="dim must equal the projector's out, 2, got 5"):
        MoCo(dim=5)(outputs, batch)


@pytest.mark.parametrize(("transfer", "stage"), [("ssp", "rotation"), ("moco", "moco")])
def test_pre_training_comes_first_and_its_backbone_trains_on(tmp_path: Path, transfer: str, stage: str) -> None:
    recipe = bound(small(composed(f"transfer={transfer}", "decoupling=crt"), 2))
    assert [one.name for one in recipe.stages] == [stage, "train", "classifier"]
    made = trainer(recipe, tmp_path)
    network = made.network()
    backbone, heads = (
        {name: p.clone() for name, p in network.named_parameters() if ("head" in name) is head} for head in (False, True)
    )
    running = made.begin(network, recipe.stages[0], 0)
    running.epoch(Clock(stage, 0, 2))
    after = dict(network.named_parameters())
    assert any(not torch.equal(value, after[name]) for name, value in backbone.items())
    assert all(torch.equal(value, after[name]) for name, value in heads.items()), "no label was read"
    pretrained = {name: value.clone() for name, value in after.items() if name in backbone}
    following = made.begin(network, recipe.stages[1], 1)
    assert all(torch.equal(value, dict(following.network.named_parameters())[name]) for name, value in pretrained.items())


@pytest.mark.parametrize("transfer", ["ssp", "moco"])
def test_experts_with_a_loss_of_their_own_are_refused(transfer: str) -> None:
    with pytest.raises(ConfigError, match="ensemble=ride"):
        recipe_of(*composed(f"transfer={transfer}", "ensemble=ride"))
