"""Experts that differ in width and depth, and experts that share nothing."""

from __future__ import annotations

import pytest
import torch

from ltrun.classifier import Cosine
from ltrun.errors import ConfigError
from ltrun.network import Experts
from ltrun.parts import Head
from tests.support.networks import backbone


def head(features: int) -> Head:
    return Cosine(num_classes=7, features=features)


@pytest.mark.parametrize("after", ["layer1", "inputs"])
@pytest.mark.parametrize("num_experts", [2, 3, 4, 5, 6])
def test_two_to_six_experts_of_different_width_and_depth_predict_by_their_mean(after: str, num_experts: int) -> None:
    widths, depths = [1.0 + 0.5 * e for e in range(num_experts)], [1.0 - 0.1 * e for e in range(num_experts)]
    made = Experts(num_experts, after, widths, depths, backbone=backbone(depth=20), make_head=head).eval()
    outputs = made.predict(torch.randn(3, 3, 16, 16))
    experts = outputs.need("experts")
    assert experts.shape == (num_experts, 3, 7)
    torch.testing.assert_close(outputs.need("logits"), experts.mean(dim=0))
    lengths = [int(64 * width) for width in widths]
    assert outputs.need("features").shape == (3, sum(lengths)) and made.features == sum(lengths)


def test_the_zeros_behind_shorter_features_reach_no_head() -> None:
    made = Experts(2, "inputs", [1.0, 0.5], backbone=backbone(), make_head=head).eval()
    features = made.encode(torch.randn(3, 3, 16, 16))
    assert features.shape == (2, 3, 64) and not features[1, :, 32:].any()
    changed = features.clone()
    changed[1, :, 32:] = 9.0
    torch.testing.assert_close(made.decide(changed).need("experts"), made.decide(features).need("experts"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((7,), "num_experts must lie between 2 and 6, got 7"),
        ((3, "layer1", [1.0, 1.0]), "width must be one number, or a list of 3, one for each expert"),
        ((2, "layer1", 1.0, [1.0]), "depth must be one number, or a list of 2, one for each expert"),
        ((2, "layer1", 1.0, 0.0), "depth must be above 0, got 0"),
    ],
)
def test_shapes_that_cannot_be_are_refused(arguments: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Experts(*arguments, backbone=backbone(), make_head=head)  # type: ignore[arg-type]
