"""Recipes that nobody would write on purpose: odd names, samplers that draw nothing, one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.data import Resident
from ltrun.engine.rehearsal import rehearse
from ltrun.engine.stage import Row
from ltrun.errors import ConfigError, TrainingError
from ltrun.parts import Sampler
from ltrun.types import Clock, Labels
from tests.support.cases import bound, changed, composed, small, trainer
from tests.support.training import Recorder, Some, mine, node

CALLED: dict[str, dict[str, Any]] = {
    "streams": {"sampler": node(Some, length=3)},
    "terms": {"part": node(Recorder)},
    "mixers": {"_target_": "ltrun.augmentation.Mixup"},
}


@pytest.mark.parametrize("role", CALLED)
def test_a_stream_a_term_or_a_mixer_of_any_name_trains_or_is_refused(role: str, tmp_path: Path) -> None:
    """Names that a user chooses become names of submodules, and torch refuses some: ltrun then refuses them in a sentence."""
    crashed = []
    for name in ["a.b", "", "train", "values", "type", "forward", "half", "to", "0", "main ", "größe", "plain_name"]:
        composition = changed(small(composed(), epochs=1), ensemble={role: {name: CALLED[role]}})
        try:
            recipe = mine(composition)
        except ConfigError as error:
            assert f"{role}.{name}" in str(error)
            continue
        made = trainer(recipe, tmp_path)
        network = made.network()
        try:
            made.begin(network, recipe.stages[0], 0).epoch(Clock("train", 0, 1))
        except KeyError as error:
            crashed.append(f"{name!r}: {error}")
    assert crashed == []


@pytest.mark.parametrize("name", ["a b", "../out", "a/b", "/tmp", "größe", "", "x" * 300, "0", "a.b", "a\nb", "-"], ids=repr)
def test_a_run_with_a_stage_of_any_name_resumes_in_its_folder_or_is_refused(name: str, tmp_path: Path) -> None:
    """The name of a stage is part of the names of its checkpoints, so it must not lead out of the run's folder."""
    folder = tmp_path / "deep" / "run"
    composition = changed(small(composed(), epochs=2), plan=[name], stages={name: {}})
    try:
        recipe = bound(composition)
    except ConfigError as error:
        assert str(error).startswith(("plan", "stages"))
        return

    def tell(row: Row) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(recipe, folder, report=tell).run()
    rows: list[Row] = []
    trainer(recipe, folder, report=rows.append).run()
    assert [row["epoch"] for row in rows] == [2], "the run did not resume from its checkpoint"
    assert {path.parent for path in tmp_path.rglob("*.pt")} == {folder}, "a checkpoint lies outside the run's folder"


class Nothing(Sampler):
    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.arange(0)


@pytest.mark.parametrize("slot", ["resampling", "ensemble"])
def test_a_sampler_that_draws_no_rows_is_refused(slot: str, tmp_path: Path) -> None:
    content = {"sampler": node(Nothing)} if slot == "resampling" else {"streams": {"extra": {"sampler": node(Nothing)}}}
    recipe = mine(changed(small(composed(), epochs=1), **{slot: content}))
    with pytest.raises((ConfigError, TrainingError)):
        trainer(recipe, tmp_path).run()


def test_one_image_trains(tmp_path: Path) -> None:
    recipe = mine(changed(small(composed(), epochs=1), resampling={"sampler": node(Some, length=1)}))
    rows: list[Row] = []
    trainer(recipe, tmp_path, report=rows.append).run()
    assert rows[0]["images"] == 1


def images(size: int, count: int = 9) -> Resident:
    return Resident(torch.randint(0, 255, (count, 1, size, size), dtype=torch.uint8), Labels.hard(torch.arange(count)))


def test_a_batch_of_one_with_feature_maps_of_one_pixel_is_refused_with_the_reason(tmp_path: Path) -> None:
    made = trainer(mine(small(composed())), tmp_path, train_set=images(4), batch_size=1, warn=lambda sentence: None)
    made.context.__dict__["input_shape"] = torch.Size((1, 4, 4))
    with pytest.raises(ConfigError) as caught:
        rehearse(made)
    assert "batch_size=1" in str(caught.value) and "batch normalisation needs more than one value" in str(caught.value)
    assert "torch" not in str(caught.value)
