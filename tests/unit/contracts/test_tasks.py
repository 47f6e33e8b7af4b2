"""Contracts and the task: which digits an option is tried on, and parts that fail where images have several labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltrun.contracts import losses, training
from ltrun.contracts.contract import Contract
from ltrun.contracts.stand_ins import NONE, several
from ltrun.contracts.trial import digits, stats
from ltrun.metrics import BOTH, MULTI_LABEL, SINGLE_LABEL
from ltrun.parts import Adjust, Weigh
from ltrun.types import Outputs
from tests.support.cases import LIBRARY, bound, choice, composed, small
from tests.support.mypackage import option, sentence_of, target


class Even(Weigh):
    """Weighs all rows alike, and returns a weight for each row where one for each entry is needed."""

    accepts = BOTH

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return torch.ones(len(logits), device=logits.device)


class ByLabels(Weigh):
    """Divides by the number of a row's labels, which may be 0."""

    accepts = frozenset({MULTI_LABEL})

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return (1 / labels.sum(1, keepdim=True)).expand_as(labels)


class Root(Adjust):
    """Needs one label."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits


def named(contracts: list[Contract], words: str) -> Contract:
    (found,) = [contract for contract in contracts if contract.name == words]
    return found


@pytest.mark.parametrize(
    ("words", "tasks", "data"),
    [
        (["method=erm"], BOTH, "digits_lt"),
        (["method=crt"], BOTH, "digits_lt"),
        (["method=balanced_softmax"], {SINGLE_LABEL}, "digits_lt"),
        (["decoupling=lws"], {SINGLE_LABEL}, "digits_lt"),
        (["method=distribution_balanced"], {MULTI_LABEL}, "digits_multi_lt"),
        (["augmentation=[mixup,cutmix]", "reweighting=rebalanced"], {MULTI_LABEL}, "digits_multi_lt"),
        (["reweighting=rebalanced", "logit_adjustment=cdt"], set(), "digits_lt"),
        (["method=erm", "epochs=3"], BOTH, "digits_lt"),
    ],
)
def test_a_command_line_is_tried_on_the_digits_that_its_parts_accept(words: list[str], tasks: set[str], data: str) -> None:
    assert LIBRARY.tasks(*words) == tasks
    assert LIBRARY.digits_for(*words) == f"dataset={data}"
    assert composed(*words)[0]["dataset"]["name"] == data


def test_an_option_of_a_user_is_tried_on_each_task_that_it_accepts(tmp_path: Path) -> None:
    one = option(tmp_path / "one", "logit_adjustment", {"adjust": target(Root)})
    assert [each.task for each in one.of_each_task()] == [SINGLE_LABEL]
    both = option(tmp_path / "both", "reweighting", {"weigh": target(Even)})
    assert [each.recipe.task for each in both.of_each_task()] == [SINGLE_LABEL, MULTI_LABEL]
    names = [contract.name for contract in losses.of_a_loss(both)]
    assert len(names) == len(set(names)) == 14


def test_a_part_that_fails_on_several_labels_alone_is_reported(tmp_path: Path) -> None:
    both = option(tmp_path, "reweighting", {"weigh": target(Even)})
    contracts = list(training.of_a_training(both))
    named(contracts, "it trains and predicts on digits").check()
    said = sentence_of(named(contracts, "it trains and predicts on scenes of digits").check)
    assert "Even returns a tensor of shape (32,), where (32, 10) is needed" in said


def test_a_loss_that_is_not_finite_without_labels_is_reported(tmp_path: Path) -> None:
    (made,) = option(tmp_path, "reweighting", {"weigh": target(ByLabels)}).of_each_task()
    said = sentence_of(losses.stays_finite, made, torch.float32)
    assert "reweighting=mine, a row without labels," in said and "the loss is nan" in said


def test_the_trial_scenes_have_all_classes_and_rows_without_labels() -> None:
    train, test = digits(MULTI_LABEL)
    counts = train.targets.labels.sum(0)
    assert len(train) == stats(MULTI_LABEL).images == 70 and counts.min() == counts[-1] == 1
    assert (test.targets.labels.sum(1) == 0).any() and test.targets.labels.any(0).all()


def test_options_of_videos_are_tried_on_the_lines_of_images() -> None:
    recipe = bound(small(composed("method=framestack")))
    assert recipe.backbone.target.videos and digits(MULTI_LABEL, videos=True)[0].images.shape == (70, 16, 16)
    assert choice("network", "frame_classifier").recipe.backbone.target.videos


def test_rows_of_several_labels_hold_their_own_and_a_neighbours() -> None:
    found = several(torch.tensor([0, 2, NONE, 1]), 3).long().tolist()
    assert found == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]]
