"""What is said of the images before any step: sizes that a network is not made for, batches that it cannot normalise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ltrun.config.settings import Settings
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.context import RunContext
from ltrun.engine.stage import Row
from ltrun.engine.trainer import Trainer
from ltrun.errors import ConfigError
from ltrun.recipe.stage import Recipe
from tests.support.cases import bound, composed, small
from tests.support.data_fakes import class_folders


def opened(root: Path, size: int, *overrides: str) -> tuple[Recipe, RunContext, list[str]]:
    class_folders(root, {"ant": 5, "bee": 4}, size=8)
    choices = ("dataset=image_folder", f"dataset.root={root}", f"dataset.image_size={size}", *overrides)
    composition = small(composed(*choices), epochs=1)
    recipe, warnings = bound(composition), list[str]()
    return recipe, RunContext.open(Settings.of(composition[0]), recipe, torch.device("cpu"), warnings.append), warnings


def train(root: Path, size: int, *overrides: str) -> Sequence[Row]:
    recipe, context, _ = opened(root / "photos", size, *overrides)
    rows: list[Row] = []
    Trainer(recipe, context, Checkpoints(root), lambda network: {}, rows.append).run()
    return rows


@pytest.mark.parametrize(("size", "words"), [(224, "costs 12 times the time of 64 pixels"), (65, "8 to 64"), (7, "8 to 64")])
def test_images_that_a_network_is_not_made_for_are_warned_of(tmp_path: Path, size: int, words: str) -> None:
    (warning,) = opened(tmp_path, size)[2]
    assert warning.startswith(f"images of {size} x {size} pixels: ltrun.network.ResNetCIFAR is made for 8 to 64 pixels")
    assert words in warning and "dataset.image_size" in warning


@pytest.mark.parametrize("size", [8, 64])
def test_other_images_are_not(tmp_path: Path, size: int) -> None:
    assert opened(tmp_path, size)[2] == []


@pytest.mark.parametrize("method", ["erm", "crt", "bbn", "ride", "paco"])
def test_one_value_a_channel_is_refused_before_training(tmp_path: Path, method: str) -> None:
    with pytest.raises(ConfigError, match=r"batch_size=1: of one image of 4 x 4 pixels.*batch_size=2 or more"):
        train(tmp_path, 4, f"method={method}", "batch_size=1")


@pytest.mark.parametrize(("size", "batch_size"), [(8, 1), (4, 2)])
def test_two_values_a_channel_train(tmp_path: Path, size: int, batch_size: int) -> None:
    assert len(train(tmp_path, size, f"batch_size={batch_size}")) == 1


def test_looking_at_a_batch_of_one_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = train(tmp_path / "a", 8, "batch_size=1")
    monkeypatch.setattr("ltrun.engine.stage.StageRun.check_batch_size", lambda self: None)
    assert [row["loss"] for row in looked] == [row["loss"] for row in train(tmp_path / "b", 8, "batch_size=1")]
