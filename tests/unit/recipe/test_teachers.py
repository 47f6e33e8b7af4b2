"""Teachers, stages ahead of the plan and new networks in a recipe: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.engine.frozen import Frozen
from ltrun.errors import ConfigError
from ltrun.types import Clock
from tests.support.cases import bound, changed, composed, small, snapshot, trainer

TERM = {"part": {"_target_": "ltrun.transfer.DiVE"}}


def config(teacher: dict[str, Any], **more: Any) -> Any:
    return changed(small(composed(), epochs=1), transfer={"teachers": {"teacher": teacher}, "terms": {"mine": TERM}}, **more)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({}, "give words=[...] that train the teacher, run=FOLDER of a finished run, or previous=true"),
        ({"words": []}, "give words=[...]"),
        ({"words": ["method=erm"], "previous": True}, "give words=[...]"),
        ({"run": "somewhere", "previous": True}, "run=FOLDER and previous=true exclude each other"),
        ({"word": ["method=erm"]}, "a teacher has no 'word'; did you mean 'words'?"),
        ({"words": "method=erm"}, "transfer.teachers.teacher.words: expected"),
        ({"previous": True}, "'train' is the first stage, before which there is no network"),
    ],
)
def test_a_teacher_without_sense_is_refused(teacher: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        bound(config(teacher))
    assert "transfer.teachers.teacher" in str(error.value) and said in str(error.value)


def test_a_term_without_its_teacher_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs the teacher 'teacher', which no slot of stage 'train' provides"):
        bound(changed(small(composed(), epochs=1), transfer={"terms": {"mine": TERM}}))


def test_a_teacher_is_not_called_as_a_stream() -> None:
    streams = {"teacher": {"of": "main"}}
    with pytest.raises(ConfigError, match="'teacher' is the name of a stream"):
        bound(config({"words": ["method=erm"]}, representation__streams=streams))


def test_stages_ahead_of_the_plan_come_first() -> None:
    composition = changed(composed("decoupling=crt"), before=["warm"], stages__warm={"epochs": 2})
    assert [stage.name for stage in bound(composition).stages] == ["warm", "train", "classifier"]
    with pytest.raises(ConfigError, match="before and plan: expected a list of different stage names"):
        bound(changed(composed(), before=["train"]))


def test_a_stage_that_resets_begins_with_new_weights_and_its_teacher_with_the_old_ones(tmp_path: Path) -> None:
    second = {
        "reset_network": True,
        "epochs": 1,
        "transfer": {"teachers": {"teacher": {"previous": True}}, "terms": {"m": TERM}},
    }
    recipe = bound(changed(small(composed(), epochs=1), plan=["train", "again"], stages__again=second))
    made = trainer(recipe, tmp_path)
    network = made.network()
    made.begin(network, recipe.stages[0], 0).epoch(Clock("train", 0, 1))
    left = snapshot(network)
    running = made.begin(network, recipe.stages[1], 1)
    teacher = running.objective.teachers["teacher"]
    assert isinstance(teacher, Frozen) and not list(teacher.parameters())
    kept = teacher.network.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in left.items())
    assert not torch.equal(network.state_dict()["head.weight"], left["head.weight"])
    assert not torch.equal(network.state_dict()["head.weight"], made.network().state_dict()["head.weight"]), "another draw"
    running.epoch(Clock("again", 0, 1))
    assert all(torch.equal(teacher.network.state_dict()[name], tensor) for name, tensor in left.items()), "it is frozen"


def test_a_frozen_network_stays_in_evaluation_mode_and_lets_gradients_through_to_images(tmp_path: Path) -> None:
    made = trainer(bound(small(composed())), tmp_path)
    frozen = Frozen(made.network())
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    images = torch.randn(3, 1, 8, 8, requires_grad=True)
    frozen.predict(images).need("logits").sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
