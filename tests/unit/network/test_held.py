"""Frozen layers, held statistics and the neck of a ResNet: what trains, in any network and stage, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.network import DepthFusion, ResidualFusion, ResNet
from ltrun.network.fold import folded
from ltrun.network.frozen import HeldNorm
from tests.support.cases import bound, composed, trainer

HELD: dict[str, Any] = {"depth": 10, "frozen": "layer1", "hold_statistics": True, "neck": 16, "in_channels": 3}
STATISTICS = ("running_mean", "running_var")


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file of weights of a network that has seen images, so that its statistics are its own."""
    torch.manual_seed(3)
    network = ResNet(10, in_channels=3).train()
    for _ in range(3):
        network(torch.randn(4, 3, 64, 64))
    torch.save(network.state_dict(), tmp_path / "resnet10.pth")
    return str(tmp_path / "resnet10.pth")


def stepped(network: ResNet, seed: int = 0) -> dict[str, Tensor]:
    """The state of a network after a step of plain descent in training mode."""
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    return network.state_dict()


def test_frozen_layers_and_all_statistics_of_maps_stay_and_the_rest_trains(weights: str) -> None:
    network = ResNet(weights=weights, **HELD)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert before.keys() == ResNet(10, neck=16, in_channels=3).state_dict().keys(), "names are those of the trained network"
    moved = {name for name, tensor in stepped(network).items() if not torch.equal(tensor, before[name])}
    still = {name for name in before if name.startswith(("conv1", "bn1", "layer1")) or name.endswith(STATISTICS)}
    assert moved == {name for name in before if name not in still and "num_batches" not in name} | {
        f"neck.1.{name}" for name in (*STATISTICS, "num_batches_tracked")
    }
    assert all(norm.training is False for norm in network.train().modules() if isinstance(norm, HeldNorm))


def test_a_network_from_scratch_trains_as_a_whole() -> None:
    network = ResNet(**HELD)
    assert all(parameter.requires_grad for parameter in network.parameters())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert all(not torch.equal(tensor, before[name]) for name, tensor in stepped(network).items())


def test_the_neck_is_a_linear_layer_batch_normalisation_and_dropout_of_the_pooled_maps(weights: str) -> None:
    network, pooled = ResNet(weights=weights, **HELD), ResNet(10, weights=weights, in_channels=3).eval()
    images = torch.randn(6, 3, 64, 64)
    features = network.train()(images)
    assert features.shape == (6, network.features) == (6, 16)
    assert 0.2 < float((features == 0).float().mean()) < 0.8, "dropout of one half"
    linear = network.get_submodule("neck.0")
    plain = pooled(images) @ linear.weight.T + linear.bias
    normal = (plain - plain.mean(0)) / (plain.var(0, unbiased=False) + 1e-5).sqrt()
    kept = features != 0
    torch.testing.assert_close(features[kept], (2 * normal)[kept], atol=1e-4, rtol=1e-4)
    assert float(linear.weight.detach().std()) == pytest.approx((2 / 16) ** 0.5, rel=0.05)  # type: ignore[operator]
    through = images
    for _, piece in network.eval().pieces():
        through = piece(through)
    torch.testing.assert_close(through, network(images))


@pytest.mark.parametrize("after", ["inputs", "stem", "layer1", "layer3", "penultimate_block"])
def test_forks_hold_what_the_network_holds(after: str, weights: str) -> None:
    begun = ResNet(10, weights=weights, in_channels=3).state_dict()
    trunk, branches = ResNet(weights=weights, **HELD).fork(after, copies=2)
    names = {name for module in (trunk, *branches) for name, _ in module.named_parameters()}
    assert not any(name.startswith(("conv1", "bn1", "layer1")) for name in names)
    assert any(name.startswith("neck.") for name in names) and all(branch.features == 16 for branch in branches)
    features = [branch(trunk.train()(torch.randn(4, 3, 64, 64))) for branch in (each.train() for each in branches)]
    assert all(each.shape == (4, 16) for each in features)
    for module in (trunk, *branches):
        state = module.state_dict()
        assert all(torch.equal(state[name], begun[name]) for name in state if name.endswith(STATISTICS) and "neck" not in name)


def test_narrower_branches_are_not_pre_trained_and_train_as_a_whole(weights: str) -> None:
    _, (branch,) = ResNet(weights=weights, **HELD).fork("stem", copies=1, width=0.5)
    assert any(name.startswith("layer1") for name, _ in branch.named_parameters())


def test_folding_keeps_the_function(weights: str) -> None:
    from ltrun.classifier import Linear
    from ltrun.network import Plain

    network = Plain(
        backbone=ResNet(weights=weights, **HELD), make_head=lambda features: Linear(features=features, num_classes=5)
    )
    images = torch.randn(3, 3, 64, 64)
    expected = network.eval().predict(images).need("logits")
    torch.testing.assert_close(folded(network).predict(images).need("logits"), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["bbn", "ride", "crt"])
def test_no_method_and_no_stage_gets_frozen_layers_to_train(method: str, tmp_path: Path) -> None:
    file = tmp_path / "grey.pth"
    state = ResNet(10, stem="cifar", in_channels=1).state_dict()
    torch.save({f"backbone.{name}": tensor for name, tensor in state.items()}, file)
    words = ("network=resnet10", "network.stem=cifar", f"network.weights=run:{file}", "+network.frozen=layer1")
    recipe = bound(composed(f"method={method}", *words, "+network.neck=8", "+network.hold_statistics=true"))
    made = trainer(recipe, tmp_path / "run")
    network = made.network()
    for index, stage in enumerate(recipe.stages):
        made.enter(network, stage, index)
        names = {name for name, _ in network.named_parameters()}
        assert not {name for name in names if ".layer1." in name or name.endswith(("trunk.conv1.weight", "backbone.bn1.bias"))}
        assert any(".neck.0." in name for name in names) and any(".layer3." in name for name in names)
        assert all(not norm.training for norm in network.train().modules() if isinstance(norm, HeldNorm))


def test_weights_of_a_network_with_a_neck_bring_the_neck(weights: str, tmp_path: Path) -> None:
    trained = ResNet(weights=weights, **HELD)
    torch.save(trained.state_dict(), tmp_path / "necked.pth")
    again = ResNet(weights=str(tmp_path / "necked.pth"), **HELD)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in trained.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"neck": 0}, "neck must be at least 1, or null"), ({"neck": 4, "neck_dropout": 1.0}, "neck_dropout must be at least 0")],
)
def test_wrong_necks_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ResNet(10, in_channels=3, **arguments)


@pytest.mark.parametrize("kind", [DepthFusion, ResidualFusion])
def test_networks_that_pool_maps_themselves_refuse_a_neck(kind: type[Any]) -> None:
    with pytest.raises(ConfigError, match=r"network.neck: .* set network.neck=null"):
        kind(backbone=ResNet(10, neck=16, in_channels=3), make_head=lambda features: None)
