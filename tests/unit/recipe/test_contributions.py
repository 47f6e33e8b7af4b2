"""Slots contribute to a recipe in their order; parts of a user's own, and balancing twice."""

from __future__ import annotations

import re

import pytest

from ltrun.parts import Criterion
from tests.support.cases import assembled, bound, changed, composed
from tests.support.recipes import refused, targets

HERE = __name__


class Mine(Criterion):
    """A criterion of a user's own."""


@pytest.mark.parametrize("augmentation", [["cmo", "mixup"], ["mixup", "cmo"]])
def test_an_option_of_several_is_named_in_a_refusal(augmentation: list[str]) -> None:
    sentence = refused(assembled({"representation": "paco", "augmentation": augmentation}))
    assert "representation=paco" in sentence and re.search(r"augmentation=\S*(cmo|mixup)", sentence)


def test_parts_come_in_slot_order_whatever_order_they_are_chosen_in() -> None:
    first = {"margin": "ldam", "logit_adjustment": "balanced_softmax", "classifier": "cosine", "reweighting": "focal"}
    for picked in (first, dict(reversed(first.items()))):
        (stage,) = bound(assembled(picked)).stages
        assert targets(stage, "adjusts") == ["LDAM", "BalancedSoftmax"]
        assert [part.origin for part in stage.adjusts] == ["margin=ldam", "logit_adjustment=balanced_softmax"]


def test_a_criterion_of_ones_own_has_one_owner_and_a_loss_to_be_part_of() -> None:
    own = {"criterion": {"_target_": f"{HERE}.Mine"}}
    (stage,) = bound(changed(composed(), reweighting=own), ("tests",)).stages
    assert stage.criterion is not None and stage.criterion.target is Mine
    twice = refused(changed(composed(), reweighting=own, margin=own), ("tests",))
    assert "'criterion'" in twice and "reweighting=" in twice and "margin=" in twice
    sentence = refused(changed(composed("representation=paco"), reweighting=own), ("tests",))
    assert "representation=paco" in sentence and "reweighting=none" in sentence


def test_balancing_twice_is_allowed_and_warned_about_once() -> None:
    (sentence,) = bound(assembled({"resampling": "class_balanced", "logit_adjustment": "balanced_softmax"})).warnings
    assert "resampling=class_balanced" in sentence and "logit_adjustment=balanced_softmax" in sentence and "'train'" in sentence
    (sentence,) = bound(assembled({"logit_adjustment": "logit_adjustment", "posthoc": "logit_adjustment"})).warnings
    assert "logit_adjustment=logit_adjustment" in sentence and "posthoc=logit_adjustment" in sentence
    (sentence,) = bound(assembled({"reweighting": "drw", "resampling": "square_root"})).warnings
    assert "reweighting=drw" in sentence, "a nested part balances too"
    assert bound(assembled({"decoupling": "crt", "logit_adjustment": "balanced_softmax"})).warnings == []
