"""Preprocessing of pre-trained networks: it replaces the data set's, and differences are warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ltrun.config.settings import Settings
from ltrun.data import Normalise
from ltrun.engine.context import RunContext
from ltrun.errors import ConfigError
from ltrun.network import ResNet
from ltrun.recipe.stage import Recipe
from tests.support.cases import bound, composed
from tests.support.data_fakes import class_folders

IMAGENET = ("dataset.prepare.mean=[0.485,0.456,0.406]", "dataset.prepare.std=[0.229,0.224,0.225]")
INAT = ("dataset.prepare.mean=[0.466,0.471,0.380]", "dataset.prepare.std=[0.195,0.194,0.192]")


@pytest.fixture
def weights(tmp_path: Path) -> str:
    state = ResNet(10, in_channels=3).state_dict()
    torch.save(state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "r10.pth")
    return f"network.weights={tmp_path / 'r10.pth'}"


def recipe(root: Path, *words: str) -> tuple[Recipe, Settings]:
    class_folders(root, {"ant": 5, "bee": 4}, size=8)
    composition = composed("dataset=image_folder", f"dataset.root={root}", "network=resnet10", *words)
    return bound(composition), Settings.of(composition[0])


def opened(found: Recipe, settings: Settings) -> tuple[RunContext, list[str]]:
    warnings = list[str]()
    return RunContext.open(settings, found, torch.device("cpu"), warnings.append), warnings


def test_the_networks_mean_and_std_replace_the_data_sets(tmp_path: Path, weights: str) -> None:
    found, settings = recipe(tmp_path / "photos", weights, *INAT, "dataset.image_size=224")
    context, _ = opened(found, settings)
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    expected = Normalise([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], in_channels=3, channels_last=True)
    torch.testing.assert_close(context.prepare(images), expected(images))
    (warning,) = found.warnings
    assert "mean 0.485/0.456/0.406 and std 0.229/0.224/0.225, which replace dataset.prepare's 0.466/0.471/0.38" in warning


def test_equal_means_are_not_warned_of_and_a_network_from_scratch_keeps_the_data_sets(tmp_path: Path, weights: str) -> None:
    assert recipe(tmp_path / "photos", weights, *IMAGENET)[0].warnings == []
    found, settings = recipe(tmp_path / "others", *INAT, "dataset.image_size=64")
    assert found.warnings == [] and found.prepare.arguments["mean"] == [0.466, 0.471, 0.38]
    assert opened(found, settings)[1] == []


def test_another_size_and_a_classifier_left_out_are_told(tmp_path: Path, weights: str) -> None:
    size, classifier = opened(*recipe(tmp_path / "photos", weights, *IMAGENET, "dataset.image_size=64"))[1]
    assert size.startswith("images of 64 x 64 pixels: the weights of the network were trained on 224 x 224")
    assert "dataset.image_size=224" in size
    assert "the classifier in r10.pth (fc.weight, 1,000 classes) is left out" in classifier
    assert len(opened(*recipe(tmp_path / "others", weights, *IMAGENET, "dataset.image_size=224"))[1]) == 1


def test_grey_images_do_not_fit_weights_for_colour(tmp_path: Path, weights: str) -> None:
    composition = composed("dataset=digits_lt", "network=resnet10", weights)
    with pytest.raises(ConfigError, match="weights are for images of 3 channels, and those of the data set have 1"):
        opened(bound(composition), Settings.of(composition[0]))


@pytest.mark.parametrize(("width", "told"), [(0.75, True), (1, False)])
def test_narrower_branches_of_a_pretrained_network_are_told_to_start_untrained(
    tmp_path: Path, weights: str, width: float, told: bool
) -> None:
    words = (weights, *IMAGENET, "ensemble=ride", "classifier=cosine", "margin=ldam", f"ensemble.network.width={width}")
    warnings = recipe(tmp_path / "photos", *words)[0].warnings
    assert any(f"ensemble.network.width={width:g}" in warning and "start untrained" in warning for warning in warnings) is told


@pytest.mark.parametrize(("network", "after"), [("resnet32", "layer1"), ("resnet8", "layer1"), ("resnext50", "layer2")])
@pytest.mark.parametrize("ensemble", ["ride", "sade"])
def test_ensembles_fork_a_network_at_its_usual_cut(network: str, after: str, ensemble: str) -> None:
    config, _ = composed(f"network={network}", f"ensemble={ensemble}")
    assert config["ensemble"]["network"] | {"after": after} == config["ensemble"]["network"]
    assert (
        composed(f"network={network}", f"ensemble={ensemble}", "ensemble.network.after=layer3")[0]["ensemble"]["network"][
            "after"
        ]
        == "layer3"
    )
