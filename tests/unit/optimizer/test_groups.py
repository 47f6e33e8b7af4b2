"""Groups of parameters: rates by name, levels of networks, refusals of patterns that match nothing."""

import pytest
import torch
from torch import nn

from ltrun.errors import ConfigError
from ltrun.optimizer.groups import groups_of, levels_of

RESNET = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2.0.downsample.0.weight"]


def named(*names: str) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.zeros(2, 2)) for name in names}


def test_the_first_pattern_that_matches_sets_the_rate() -> None:
    """Patterns know the network's parameters without `network.`, and the parameters of terms by their whole names."""
    parameters = named("network.backbone.conv1.weight", "network.head.weight", "terms.paco.keys")
    groups = groups_of(parameters, rates={"backbone.conv1.*": 0.01, "backbone*": 0.1, "terms.*": 2.0})
    assert [(group.factor, group.rows) for group in groups] == [(2.0, [2]), (1.0, [1]), (0.01, [0])]
    assert groups[0].parameters[0] is parameters["terms.paco.keys"]


def test_without_rates_all_parameters_are_one_group_in_order() -> None:
    parameters = named("b", "a", "c")
    (group,) = groups_of(parameters)
    assert group.parameters == list(parameters.values()) and group.factor == 1.0 and group.decays


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"rates must match .* 'bakbone\*' matches none; did you mean 'backbone'"):
        groups_of(named("network.backbone.conv1.weight", "network.head.weight"), rates={"bakbone*": 0.1})


def test_a_pattern_may_match_frozen_parameters_alone() -> None:
    """A stage that trains the classifier alone keeps the rates of the backbone."""
    (group,) = groups_of(
        named("network.head.weight"), ["network.backbone.conv1.weight", "network.head.weight"], {"backbone*": 0.1}
    )
    assert group.factor == 1.0


def test_levels_of_a_residual_network() -> None:
    backbone, trained = [f"backbone.{name}" for name in RESNET], ["head.weight", "terms.x.bias"]
    assert list(levels_of([*backbone, *trained]).values()) == [0, 0, 1, 2, 3, 4, 4]


def test_levels_of_a_vision_transformer_are_those_of_beit() -> None:
    """BEiT: tokens, position and patch embedding 0, block i level i + 1, all else depth + 1."""
    names = ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.0.attn.qkv.weight"]
    names += ["blocks.1.mlp.fc1.weight", "blocks.10.mlp.fc1.weight", "norm.weight", "head.weight"]
    assert list(levels_of([f"backbone.model.{name}" for name in names]).values()) == [0, 0, 0, 1, 1, 2, 3, 4, 4]


def test_branches_share_levels() -> None:
    names = ["trunk.0.weight", "trunk.1.bias", "trunk.3.conv1.weight", "branches.0.blocks.0.conv1.weight"]
    names += ["branches.0.blocks.1.conv1.weight", "branches.1.blocks.0.conv1.weight", "branches.1.blocks.1.conv1.weight"]
    assert list(levels_of([*names, "heads.0.weight"]).values()) == [0, 0, 1, 2, 3, 2, 3, 4]


def test_stages_with_blocks() -> None:
    names = ["stem.0.weight", "stages.0.blocks.0.w.x", "stages.0.blocks.1.w.x", "stages.1.downsample.1.weight"]
    names += ["stages.1.blocks.0.w.x", "head.norm.weight"]
    assert list(levels_of(names).values()) == [0, 1, 2, 3, 4, 5]


def test_layer_decay_lowers_the_rate_from_level_to_level_and_multiplies_rates() -> None:
    parameters = named(*(f"network.backbone.{name}" for name in RESNET), "network.head.weight")
    factors = {
        row: group.factor for group in groups_of(parameters, layer_decay=0.5, rates={"*conv1*": 0.1}) for row in group.rows
    }
    assert [factors[row] for row in range(6)] == pytest.approx([0.1 / 16, 1 / 16, 0.1 / 8, 0.1 / 4, 1 / 2, 1])
    with pytest.raises(ConfigError, match="layer_decay needs parameters named by blocks"):
        groups_of(named("network.conv.weight"), layer_decay=0.5)
