"""Residual fusion: the sum of branches predicts, and the papers' numbers of parameters of collaborating experts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ltrun.classifier import Cosine, Linear
from ltrun.errors import ConfigError
from ltrun.network import Experts, ResidualFusion, ResNetCIFAR
from ltrun.parts import Backbone, Head, Network
from tests.support.narrow import present
from tests.support.networks import backbone, make_head


@pytest.mark.parametrize("branches", [2, 3, 6])
def test_the_sum_of_the_branches_predicts(branches: int) -> None:
    made = ResidualFusion(branches, backbone=backbone(), make_head=make_head).train()
    outputs = made.predict(torch.randn(4, 3, 16, 16))
    experts, features = outputs.need("experts"), outputs.need("features")
    assert experts.shape == (branches, 4, 5) and features.shape == (4, made.features)
    torch.testing.assert_close(outputs.need("logits"), experts.sum(dim=0))
    head = made.get_submodule("head")
    assert isinstance(head, Linear)
    torch.testing.assert_close(outputs.need("logits"), features @ head.classes.T + branches * present(head.bias))


def test_branches_differ_in_scale_and_shift_of_the_last_maps() -> None:
    """A branch normalises maps, over pixels too, before they are pooled, as in the authors' code."""
    made = ResidualFusion(2, backbone=backbone(), make_head=make_head).train()
    norm = made.norms[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.constant_(norm.weight, 2.0)
    nn.init.constant_(norm.bias, 0.5)
    images = torch.randn(4, 3, 16, 16)
    maps = images
    for _, piece in made.backbone.pieces()[:-1]:
        maps = piece(maps)
    mean, variance = maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3), unbiased=False)
    plain = ((maps.mean(dim=(2, 3)) - mean) / (variance + norm.eps).sqrt()).detach()
    torch.testing.assert_close(made.encode(images), torch.stack([plain, 2 * plain + 0.5]), rtol=1e-4, atol=1e-5)


class OneStep(Backbone):
    features = 8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :8]


def test_networks_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="network: OneStep has no maps before its features; choose ensemble=none"):
        ResidualFusion(backbone=OneStep(), make_head=make_head)
    with pytest.raises(ConfigError, match="num_experts must lie between 2 and 6, got 7"):
        ResidualFusion(7, backbone=backbone(), make_head=make_head)


def size(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("classes", "reslt", "balpoe", "mdcs", "ncl", "ncl_plus"),
    [(10, 464_538, 1_344_784, 770_896, 1_392_462, 928_308), (100, 470_388, 1_362_064, 783_856, 1_410_012, 940_008)],
)
def test_the_numbers_of_parameters_are_those_of_the_authors_code(
    classes: int, reslt: int, balpoe: int, mdcs: int, ncl: int, ncl_plus: int
) -> None:
    """ResNet-32. MDCS's code makes three more layers, which nothing reads: 793,760 for 100 classes."""

    def linear(features: int) -> Head:
        return Linear(num_classes=classes, features=features)

    def cosine(features: int) -> Head:
        return Cosine(num_classes=classes, features=features)

    def body() -> Backbone:
        return ResNetCIFAR(in_channels=3)

    assert size(ResidualFusion(backbone=body(), make_head=linear)) == reslt
    assert size(Experts(3, "layer1", 1.0, backbone=body(), make_head=cosine)) == balpoe
    assert size(Experts(3, "layer1", 0.75, backbone=body(), make_head=cosine)) == mdcs
    assert size(Experts(3, "inputs", 1.0, backbone=body(), make_head=linear)) == ncl
    assert size(Experts(2, "inputs", 1.0, backbone=body(), make_head=linear)) == ncl_plus
