"""Contracts of trainings, steps and presets: for each a part that breaks it, and the sentence that reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.contracts import device, presets, training, trial
from ltrun.contracts.library import Choice
from ltrun.contracts.training import quick
from ltrun.parts import Adjust, PostHoc, Term
from ltrun.types import ClassStats, Outputs, Streams, View
from tests.support.mypackage import option, sentence_of, target


class Still(Term):
    """The mean logit, times 1."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.scale: Tensor

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return outputs["main"].need("logits").float().mean() * self.scale


class Counting(Still):
    steps = 0

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        self.steps += 1
        return super().forward(outputs, streams) * self.steps


class Replacing(Still):
    def adapt(self, view: View) -> None:
        self.scale = torch.ones(()) + view.clock.epoch


class Forgetting(Still):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def adapt(self, view: View) -> None:
        self.scale.fill_(1.0 + view.clock.epoch)


class Hiding(Still):
    """Keeps a changing value in a list, which no checkpoint saves."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = [torch.ones(())]

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        self.hidden[0] = self.hidden[0] + 1
        return super().forward(outputs, streams) * self.hidden[0]


class Bursting(Still):
    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        self.scale.fill_(0.0)
        self.other.fill_(torch.inf)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("other", torch.ones(()))
        self.other: Tensor


class Sharing(Still):
    def __deepcopy__(self, memo: dict[int, object]) -> Sharing:
        return self


class Drifting(Still):
    def __deepcopy__(self, memo: dict[int, object]) -> Drifting:
        twin = Drifting()
        twin.scale.fill_(2)
        return twin


class Impatient(Still):
    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        loss = super().forward(outputs, streams)
        return loss * (1.0 if loss.item() > 0 else 2.0)


class Indexing(Still):
    """Looks rows of a host's tensor up by labels of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [torch.ones(10)]

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return super().forward(outputs, streams) * self.weights[0][streams["main"].targets.labels].mean()


class Numeric(Still):
    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return super().forward(outputs, streams) * float(outputs["main"].need("logits").detach().numpy().max())


class Homesick(Still):
    def __init__(self) -> None:
        super().__init__()
        self.weights = [torch.ones(10)]

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return (outputs["main"].need("logits") * self.weights[0]).mean()


class Deaf(Still):
    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return super().forward(outputs, streams).detach()


class Raising(Adjust):
    def __init__(self, *, stats: ClassStats):
        super().__init__()
        raise ZeroDivisionError("by the author")


class Tall(PostHoc):
    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits").repeat(2, 1)


def with_term(folder: Path, part: type[Term]) -> Choice:
    return option(folder, "representation", {"terms": {"own": {"part": target(part), "weight": 0.1}}})


def test_all_contracts_of_a_correct_part_hold(tmp_path: Path) -> None:
    choice = with_term(tmp_path, Still)
    contracts = [*training.of_a_training(choice), *device.of_a_step(choice)]
    assert len(contracts) == 4
    for contract in contracts:
        contract.check()


STATE = [
    (
        Counting,
        "Counting.steps is a plain value that changes in training, which neither a checkpoint nor a captured step sees",
    ),
    (Replacing, "the buffer objective.terms.own.scale was replaced; write it in place: self.NAME.copy_(...)"),
    (Forgetting, "objective.terms.own.scale: a checkpoint does not restore it; register the buffer with persistent=True"),
    (Hiding, "after a checkpoint was loaded; keep values that change in self.register_buffer"),
    (Bursting, "objective.terms.own.other is not finite after two epochs on digits"),
    (Sharing, "copy.deepcopy of the parts shares tensors with the original"),
    (Drifting, "terms.own.scale: copy.deepcopy of the part gives other values"),
]


@pytest.mark.parametrize(("part", "said"), STATE, ids=[part.__name__ for part, _ in STATE])
def test_state_that_a_checkpoint_or_a_copy_loses_is_reported(part: type[Term], said: str, tmp_path: Path) -> None:
    choice = with_term(tmp_path, part)
    recipe = choice.library.bound(quick(choice, 10))
    assert said in sentence_of(training.keeps_state_in_buffers, recipe, tmp_path / "run")


STEPS = [
    (Impatient, "Impatient cannot be compiled or captured (_local_scalar_dense makes the host wait for the device)"),
    (Impatient, "use no .item(), no `if` on a tensor and no mask as an index"),
    (Numeric, "a step turns a tensor into a NumPy array (a tensor of a device has no NumPy array); compute by torch"),
    (Indexing, "a step mixes tensors of the host with those of a device (index: a tensor of the host by an index"),
    (Homesick, "a step mixes tensors of the host with those of a device (mul: expected all tensors on one device"),
    (Counting, "and 34 more than a CPU: the captured step has frozen a Python number, a tensor of the host or a seed"),
]


@pytest.mark.parametrize(("part", "said"), STEPS)
def test_a_step_that_a_gpu_cannot_replay_is_reported(part: type[Term], said: str, tmp_path: Path) -> None:
    choice = with_term(tmp_path, part)
    recipe = choice.library.bound(quick(choice, device.EPOCHS))
    assert said in sentence_of(device.device_has_the_bits_of_the_host, recipe, tmp_path / "run")


def test_an_exception_of_a_constructor_is_raised(tmp_path: Path) -> None:
    choice = option(tmp_path, "logit_adjustment", {"adjust": target(Raising)})
    with pytest.raises(ZeroDivisionError, match="by the author"):
        training.is_built(choice, tmp_path / "run")


def test_a_loss_that_does_not_depend_on_the_network_is_reported(tmp_path: Path) -> None:
    choice = option(tmp_path, "representation", {"terms": {"classification": {"part": target(Deaf)}}})
    recipe = choice.library.bound(quick(choice, 1))
    sentence = sentence_of(training.trains_and_predicts, recipe, tmp_path / "run")
    assert sentence == "the loss does not depend on the network; compute it from the logits that forward gets"


def test_scores_of_another_shape_are_reported(tmp_path: Path) -> None:
    choice = option(tmp_path, "posthoc", {"predictors": {"tall": target(Tall)}})
    recipe = choice.library.bound(quick(choice, 1))
    assert "post-hoc row 'tall' is left out" in sentence_of(training.trains_and_predicts, recipe, tmp_path / "run")


# ---------------------------------------------------------------------------------------------------------------- presets


def test_a_run_that_resumes_with_other_values_is_reported(tmp_path: Path) -> None:
    choice = with_term(tmp_path, Hiding)
    sentence = sentence_of(presets.resumes, choice.library.bound(quick(choice, 3)), tmp_path / "run")
    assert "a stopped and resumed run ends with other values; keep values that change in self.register_buffer" in sentence


def test_a_preset_with_a_warning_is_reported(tmp_path: Path) -> None:
    text = {"defaults": [{"override /resampling": "class_balanced"}, {"override /logit_adjustment": "balanced_softmax"}]}
    choice = option(tmp_path, "method", text)
    (tmp_path / "method" / "mine.yaml").write_text("# @package _global_\n" + (tmp_path / "method" / "mine.yaml").read_text())
    assert "method=mine has a warning: stage 'train' balances the classes more than once" in sentence_of(
        presets.binds_without_a_warning, choice
    )


def test_a_preset_with_few_epochs_is_reported(tmp_path: Path) -> None:
    choice = option(tmp_path, "method", {"epochs": 3})
    (tmp_path / "method" / "mine.yaml").write_text("# @package _global_\nepochs: 3\n")
    assert "method=mine trains 3 epochs on digits" in sentence_of(presets.binds_without_a_warning, choice)


def test_a_run_that_ignores_its_seed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part can cause this, because the trainer seeds each epoch; so this trainer itself ignores the seed."""
    choice = with_term(tmp_path, Still)
    build: Any = trial.Trainer

    def seedless(recipe: Any, context: Any, *rest: Any) -> Any:
        return build(recipe, replace(context, settings=replace(context.settings, seed=0)), *rest)

    monkeypatch.setattr(trial, "Trainer", seedless)
    sentence = sentence_of(presets.follows_its_seed, choice.library.bound(quick(choice, 1)), tmp_path / "run")
    assert sentence == "two seeds give the same run; set no seed of your own, such as torch.manual_seed(0)"


def test_states_are_compared_item_by_item() -> None:
    state = {"a": [torch.ones(2), 1], "b": None}
    assert presets.same(state, {"a": [torch.ones(2), 1], "b": None})
    for other in ({"a": [torch.zeros(2), 1], "b": None}, {"a": [torch.ones(2)], "b": None}, {"a": [torch.ones(2), 1]}):
        assert not presets.same(state, other)
