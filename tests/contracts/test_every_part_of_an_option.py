"""What every part of an option keeps to: state that goes through a checkpoint, time in buffers, copies that are apart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.engine.stage import StageRun
from ltrun.parts import Part
from ltrun.types import Clock
from tests.support.cases import OPTIONS, STAGE_OPTIONS, assembled, bound, differing, digits, small, snapshot, trainer


def every_option() -> list[dict[str, Any]]:
    """One combination for each option of the stage's slots, with what it needs."""
    # every margin is one on cosines
    return [
        {slot: option, **({"classifier": "cosine"} if slot == "margin" and option != "none" else {})}
        for slot in STAGE_OPTIONS
        for option in OPTIONS[slot]
    ]


@pytest.mark.parametrize("picked", every_option(), ids=lambda picked: "+".join(f"{k}={v}" for k, v in picked.items()))
def test_every_part_of_an_option_keeps_to_the_rules(picked: dict[str, str], tmp_path: Path) -> None:
    """State round trip, copies, in-place time, no plain number that follows the clock: over a run of two epochs."""
    recipe = bound(small(assembled(picked), epochs=10))
    made = trainer(recipe, tmp_path)
    run = StageRun.of(recipe.stages[0], made.network(), made.context)
    fresh = copy.deepcopy(run.objective)
    assert differing(buffers(fresh), buffers(run.objective)) == set()

    places = {name: tensor.data_ptr() for name, tensor in buffers(run).items()}
    plain = {name: plain_attributes(module) for name, module in named_parts(run)}
    for epoch in (0, 9):  # before and after every deferred switch
        run.epoch(Clock("train", epoch, 10))
    assert {name: tensor.data_ptr() for name, tensor in buffers(run).items()} == places, "a buffer was replaced, not written"
    assert {name: plain_attributes(module) for name, module in named_parts(run)} == plain, "time lives in buffers"
    assert all(tensor.isfinite().all() for tensor in run.state_dict().values())

    # a checkpoint carries all of it: what is not persistent must be a function of the constructor's arguments
    other = trainer(recipe, tmp_path / "other", seed=1)
    second = StageRun.of(recipe.stages[0], other.network(), other.context)
    assert differing(snapshot(second), snapshot(run))
    second.load_state_dict(run.state_dict())
    assert differing(buffers(second), buffers(run)) == set()
    assert differing(dict(second.named_parameters()), dict(run.named_parameters())) == set()
    losses = []
    for each in (run, second):
        each._set_modes()
        torch.manual_seed(7)
        batches = {n: next(iter(digits()[0].open([torch.arange(16)]))) for n in recipe.stages[0].streams}
        losses.append(each.objective(batches)[0]["total"].item())
    assert losses[0] == losses[1]

    # copies are apart
    twin = copy.deepcopy(run.objective)
    shared = {t.data_ptr() for t in tensors(twin) if t.numel()} & {t.data_ptr() for t in tensors(run.objective) if t.numel()}
    assert shared == set()


def tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def buffers(module: nn.Module) -> dict[str, Tensor]:
    """All of them, those that checkpoints leave out too."""
    return dict(module.named_buffers())


def named_parts(module: nn.Module) -> list[tuple[str, Part]]:
    return [(name, each) for name, each in module.named_modules() if isinstance(each, Part)]


def plain_attributes(module: nn.Module) -> dict[str, str]:
    """What a part holds besides tensors and submodules, as text, for comparing over time."""
    hidden = {"_parameters", "_buffers", "_modules", "training"}

    def holds_tensors(value: object) -> bool:
        return isinstance(value, list) and any(isinstance(item, torch.Tensor) for item in value)

    return {name: repr(value) for name, value in vars(module).items() if name not in hidden and not holds_tensors(value)}
