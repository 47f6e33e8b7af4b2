"""Context of a run: warnings about image sizes that the network is not made for, and settings without effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ltrun.config.settings import Settings
from ltrun.engine.context import RunContext
from ltrun.errors import ConfigError
from ltrun.recipe.stage import Recipe
from tests.support.cases import bound, changed, composed, small
from tests.support.data_fakes import class_folders


def opened(root: Path, size: int, *overrides: str) -> tuple[Recipe, RunContext, list[str]]:
    class_folders(root, {"ant": 5, "bee": 4}, size=8)
    choices = ("dataset=image_folder", f"dataset.root={root}", f"dataset.image_size={size}", *overrides)
    composition = small(composed(*choices), epochs=1)
    recipe, warnings = bound(composition), list[str]()
    return recipe, RunContext.open(Settings.of(composition[0]), recipe, torch.device("cpu"), warnings.append), warnings


@pytest.mark.parametrize(("size", "words"), [(224, "takes 12 times as long as at 64 pixels"), (65, "8 to 64"), (7, "8 to 64")])
def test_image_sizes_outside_the_range_of_the_network_are_warned_of(tmp_path: Path, size: int, words: str) -> None:
    (warning,) = opened(tmp_path, size)[2]
    assert warning.startswith(f"images of {size} x {size} pixels: ltrun.network.ResNetCIFAR is made for 8 to 64 pixels")
    assert words in warning and "dataset.image_size" in warning


@pytest.mark.parametrize("size", [8, 64])
def test_image_sizes_within_the_range_of_the_network_are_not_warned_of(tmp_path: Path, size: int) -> None:
    assert opened(tmp_path, size)[2] == []


def test_synchronised_normalisation_in_one_process_is_warned_of(tmp_path: Path) -> None:
    (warning,) = opened(tmp_path, 8, "runtime.sync_bn=true")[2]
    assert warning.startswith("runtime.sync_bn=true changes no number") and "torchrun" in warning


def test_a_data_set_without_unlabelled_images_is_refused(tmp_path: Path) -> None:
    stream = {"sampler": {"_target_": "ltrun.resampling.Instance"}, "split": "unlabelled"}
    for changes in ({}, {"dataset__profile": "as_is"}):
        composition = changed(small(composed("dataset=digits_lt"), 1), representation={"streams": {"pool": stream}}, **changes)
        settings, recipe = Settings.of(composition[0]), bound(composition)
        if not changes:
            context = RunContext.open(settings, recipe, torch.device("cpu"), lambda sentence: None)
            assert context.injected()["unlabelled"] == len(context.store("unlabelled")) == 888
            continue
        with pytest.raises(ConfigError, match=r"^representation=.* unlabelled images, which this data set does not have"):
            RunContext.open(settings, recipe, torch.device("cpu"), lambda sentence: None)
