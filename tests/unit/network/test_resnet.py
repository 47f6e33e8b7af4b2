"""ResNets for photographs: torchvision's names and values, forks as RIDE and SADE cut them, folding, sizes of stems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.network import Bilateral, Experts, Plain, ResNet
from ltrun.network.fold import folded
from ltrun.parts import Network
from tests.support.narrow import present
from tests.support.networks import make_head

TORCHVISION: Mapping[str, dict[str, int]] = {
    "resnet18": {"depth": 18},
    "resnet34": {"depth": 34},
    "resnet50": {"depth": 50},
    "resnet101": {"depth": 101},
    "resnet152": {"depth": 152},
    "resnext50_32x4d": {"depth": 50, "groups": 32, "width_per_group": 4},
    "resnext101_32x8d": {"depth": 101, "groups": 32, "width_per_group": 8},
}
SMALL = {"basic": {"depth": 10}, "bottleneck": {"depth": 50}, "groups": {"depth": 50, "groups": 32, "width_per_group": 4}}
small = pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL)


def network(**shape: Any) -> ResNet:
    return ResNet(**shape, in_channels=3)


def settled(made: nn.Module) -> nn.Module:
    """Gives every batch normalisation statistics and factors of its own, so that none acts as the identity."""
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.running_var, 0.5), (module.weight.data, 0.2)):
                assert tensor is not None
                tensor.uniform_(low, 1.5)
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.2)
            module.bias.data.normal_(0, 0.2)
    return made


@pytest.mark.parametrize("name", TORCHVISION)
def test_it_has_the_names_and_shapes_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        theirs, own = torchvision.models.get_model(name), network(**TORCHVISION[name])
    expected = {key: tensor.shape for key, tensor in theirs.state_dict().items() if not key.startswith("fc.")}
    assert {key: tensor.shape for key, tensor in own.state_dict().items()} == expected


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
@torch.no_grad()
def test_it_computes_what_torchvision_computes_with_the_same_weights(name: str) -> None:
    theirs, own = torchvision.models.get_model(name), network(**TORCHVISION[name])
    theirs.fc = nn.Identity()
    settled(theirs)
    own.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    expected = theirs.eval()(images)
    assert own.features == expected.shape[1]
    torch.testing.assert_close(own.eval()(images), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(own.train()(images), theirs.train()(images), rtol=1e-4, atol=1e-4)


def test_its_initial_weights_are_spread_as_in_torchvision() -> None:
    theirs, own = torchvision.models.resnet18(), network(depth=18)
    for name, tensor in own.named_parameters():
        expected = theirs.get_parameter(name)
        torch.testing.assert_close(tensor.std(), expected.std(), rtol=0.1, atol=1e-6, msg=name)
        torch.testing.assert_close(tensor.mean(), expected.mean(), rtol=0, atol=0.01, msg=name)


def test_depth_10_has_a_basic_block_a_layer() -> None:
    """4,905,792 weights: OLTR's ResNet-10 before its classifier."""
    made = network(depth=10)
    assert {name.split(".conv")[0] for name in made.state_dict() if "conv2" in name} == {f"layer{n}.0" for n in (1, 2, 3, 4)}
    assert made.features == 512


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 2), ("cifar", 8)])
def test_a_stem_sets_the_resolution(stem: str, side: int) -> None:
    made, seen = network(depth=10, stem=stem), []
    made.get_submodule("layer4").register_forward_hook(lambda module, inputs, maps: seen.append(maps.shape))
    made(torch.randn(2, 3, 64, 64))
    assert seen == [(2, 512, side, side)]
    assert ResNet.pixels_of({"stem": stem}) == {"imagenet": (32, 512), "cifar": (8, 96)}[stem]
    assert ResNet.pixels_of({}) == ResNet.pixels_of({"stem": "imagenet"})


# ------------------------------------------------------------------------------------------------------------------ forks


@small
@pytest.mark.parametrize("after", ["layer1", "layer2", "layer3", "penultimate_block"])
@torch.no_grad()
def test_a_trunk_and_a_branch_with_the_weights_of_the_network_compute_the_same(shape: dict[str, int], after: str) -> None:
    made, images = network(**shape).eval(), torch.randn(2, 3, 64, 64)
    settled(made)
    expected, weights = made(images), {name: tensor.clone() for name, tensor in made.state_dict().items()}
    trunk, (branch,) = made.fork(after, 1)
    own = {**trunk.state_dict(), **branch.state_dict()}
    assert own.keys() == weights.keys(), "names of a fork are the network's own"
    assert not trunk.state_dict().keys() & branch.state_dict().keys()
    for name, tensor in own.items():
        tensor.copy_(weights[name])
    torch.testing.assert_close(branch.eval()(trunk.eval()(images)), expected)


@small
def test_branches_of_reduced_width_are_new_and_narrower(shape: dict[str, int]) -> None:
    """RIDE's reduce_dimension: 192 and 384 planes in layers 3 and 4 instead of 256 and 512."""
    made = network(**shape)
    trunk, branches = made.fork("layer2", 3, 0.75)
    shared = trunk(torch.randn(2, 3, 64, 64))
    assert shared.shape[1] == made.features // 4
    for branch in branches:
        assert branch.features == made.features * 3 // 4 and branch(shared).shape == (2, branch.features)
        assert branch.get_parameter("layer3.0.bn2.weight").shape[0] == {1: 192, 32: 384}[shape.get("groups", 1)]
    first, second = (branch.get_parameter("layer4.0.conv1.weight") for branch in branches[:2])
    assert not torch.equal(first, second)


MACS: Mapping[str, tuple[dict[str, int], str, float, float, float]] = {
    "resnext50, ImageNet-LT": (SMALL["groups"], "layer2", 0.75, 4.26, 6.08),
    "resnet50, iNaturalist 2018": ({"depth": 50}, "layer2", 0.75, 4.14, 5.80),
    "resnet152, Places-LT": ({"depth": 152}, "layer3", 1.0, 11.56, 13.18),
}


@pytest.mark.parametrize("name", MACS)
def test_three_experts_cost_what_sade_prints(name: str) -> None:
    """In 10^9 multiply-adds at 224 pixels, normalisations counted twice, heads left out.

    SADE's README prints 13.18 for Places-LT, which is layer 3 shared; its configuration does not share it.
    """
    shape, after, width, plain, forked = MACS[name]
    with torch.device("meta"):
        alone = Plain(backbone=network(**shape), make_head=make_head)
        three = Experts(3, after, width, backbone=network(**shape), make_head=make_head)
    assert multiplications(alone) == pytest.approx(plain, abs=0.04)
    assert multiplications(three) == pytest.approx(forked, abs=0.02)


def multiplications(made: Network) -> float:
    found = []

    def count(module: nn.Module, inputs: object, maps: Tensor) -> None:
        each = module.weight[0].numel() if isinstance(module, nn.Conv2d) else 2
        found.append(maps.numel() * each)

    for module in made.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(count)
    made.eval().encode(torch.zeros(1, 3, 224, 224, device="meta"))
    return sum(found) / 1e9


# ------------------------------------------------------------------------------------------------- as part of a network


def experts(**shape: int) -> Network:
    return Experts(3, "layer2", 0.75, backbone=network(**shape), make_head=make_head)


def bilateral(**shape: int) -> Network:
    return Bilateral(backbone=network(**shape), make_head=make_head)


def plain(**shape: int) -> Network:
    return Plain(backbone=network(**shape), make_head=make_head)


@small
@pytest.mark.parametrize("make", [plain, experts, bilateral], ids=lambda make: make.__name__)
@torch.no_grad()
def test_a_folded_network_computes_the_same_without_normalisations(shape: dict[str, int], make: Callable[..., Network]) -> None:
    made, images = make(**shape).eval(), torch.randn(2, 3, 64, 64)
    settled(made)
    short = folded(made)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in short.modules())
    expected = present(made.predict(images).logits)
    torch.testing.assert_close(
        present(short.predict(images).logits), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item()
    )


@small
@pytest.mark.parametrize("make", [plain, experts], ids=lambda make: make.__name__)
def test_every_parameter_learns(shape: dict[str, int], make: Callable[..., Network]) -> None:
    made = make(**shape).train()
    logits = present(made.predict(torch.randn(4, 3, 64, 64)).logits)
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    assert [name for name, parameter in made.named_parameters() if not present(parameter.grad).any()] == []
    assert all(present(parameter.grad).isfinite().all() for parameter in made.parameters())


@small
@torch.no_grad()
def test_channels_last_gives_the_same_features(shape: dict[str, int]) -> None:
    made, images = network(**shape).eval(), torch.randn(2, 3, 64, 64)
    settled(made)
    expected = made(images)
    found = made.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: network(depth=20), "depth must be one of 10, 18, 34, 50, 101, 152, got 20"),
        (lambda: network(depth=18, groups=32), "groups and width_per_group are for depths of at least 50"),
        (lambda: network(depth=50, groups=0), "groups and width_per_group must be at least 1, got 0 and 64"),
        (lambda: network(depth=50, width_per_group=0), "must be at least 1, got 1 and 0"),
        (lambda: network(depth=10).fork("layer4", 2), "after must name a block of the backbone, got 'layer4'; .*layer3"),
        (lambda: network(depth=10).fork("layer2", 2, 0.001), "width must leave channels in every block, got 0.001"),
    ],
)
def test_a_senseless_value_is_refused(build: Callable[[], object], sentence: str) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=sentence):
        build()


def test_whole_networks_of_another_width_and_depth_share_nothing() -> None:
    trunk, branches = network(depth=18).fork("inputs", 2, [1.0, 0.5], [1.0, 0.5])
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(trunk(images), images)
    assert [branch(images).shape[1] for branch in branches] == [512, 256]
    plain = {name: tensor.shape for name, tensor in network(depth=18).state_dict().items()}
    assert {name: tensor.shape for name, tensor in branches[0].state_dict().items()} == plain
    assert not any(name.startswith("layer1.1") for name, _ in branches[1].named_parameters())
