"""Every network option trains a step on photographs of 64 pixels, gives features of its stated length, and folds."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltrun.config.bind import Bound
from ltrun.contracts import training
from ltrun.network import Experts, Plain
from ltrun.network.fold import folded
from ltrun.parts import Backbone, Network
from tests.support.cases import OPTIONS, choice
from tests.support.narrow import present
from tests.support.networks import CLASSES, make_head

SIDE = 64
SHAPE = {"in_channels": 3, "input_shape": torch.Size((3, SIDE, SIDE))}
IMAGES = [name for name in OPTIONS["network"] if name != "frame_classifier"]  # which takes videos: test_frame_classifier.py
FORKED = [name for name in IMAGES if name not in ("timm", "resnet50_neck")]
DEEP = ("resnet101", "resnet152", "resnext101")  # their tests take seconds; resnet50 and resnext50 have the same blocks


def bound(option: str) -> Bound[Backbone]:
    if option == "timm" and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: pip install 'ltrun[pretrained]'")
    return choice("network", option).recipe.backbone


def network(option: str) -> Network:
    torch.manual_seed(0)
    return Plain(backbone=bound(option).build(SHAPE), make_head=make_head)


@pytest.mark.parametrize("option", IMAGES)
def test_a_network_trains_a_step_on_photographs(option: str) -> None:
    made, rows = network(option).train(), 2 if option in DEEP else 4
    images, labels = torch.randn(rows, 3, SIDE, SIDE), torch.arange(rows) % CLASSES
    before = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    optimizer = torch.optim.SGD(made.parameters(), lr=0.01)
    outputs = made.predict(images)
    assert present(outputs.features).shape == (rows, made.get_submodule("backbone").features)
    F.cross_entropy(present(outputs.logits), labels).backward()
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in made.parameters())
    still = [name for name, parameter in made.named_parameters() if torch.equal(parameter, before[name])]
    assert still == [], "these parameters do not learn"


@pytest.mark.parametrize("option", [name for name in IMAGES if name not in DEEP])
@torch.no_grad()
def test_a_folded_network_computes_the_same(option: str) -> None:
    made, images = network(option).train(), torch.randn(4, 3, SIDE, SIDE)
    made.predict(images)  # moves the statistics of normalisations
    expected, short = present(made.eval().predict(images).logits), folded(made)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in short.modules())
    scale = expected.abs().max().item()
    torch.testing.assert_close(present(short.predict(images).logits), expected, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("option", FORKED)
def test_an_ensemble_forks_a_network_at_the_cut_that_its_file_names(option: str) -> None:
    cut = choice("network", option).config["network"]["cut"]
    with torch.device("meta"):
        experts = Experts(3, cut, 0.75, backbone=bound(option).build(SHAPE), make_head=make_head)
    whole = network_features(option)
    assert [branch.features for branch in experts.branches] == [whole * 3 // 4] * 3


def network_features(option: str) -> int:
    with torch.device("meta"):
        return int(bound(option).build(SHAPE).features)


@pytest.mark.parametrize("option", IMAGES)
def test_the_images_of_a_network_are_stated(option: str) -> None:
    made = bound(option)
    least, most = present(made.target.pixels_of(made.arguments))
    assert least < most and training.takes_digits(choice("network", option)) is (least <= 8)
