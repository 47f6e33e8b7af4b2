"""Contributions of slots to a stage: their order, a user's criterion, warnings for balancing twice."""

from __future__ import annotations

import re

import pytest

from ltrun.parts import Criterion
from tests.support.cases import assembled, bound, changed, composed
from tests.support.recipes import refused, targets

HERE = __name__


class Mine(Criterion):
    """A user's criterion."""


@pytest.mark.parametrize("augmentation", [["cmo", "mixup"], ["mixup", "cmo"]])
def test_a_refusal_names_an_option_that_is_one_of_several(augmentation: list[str]) -> None:
    sentence = refused(assembled({"representation": "paco", "augmentation": augmentation}))
    assert "representation=paco" in sentence and re.search(r"augmentation=\S*(cmo|mixup)", sentence)


def test_parts_come_in_the_order_of_slots_whatever_the_order_of_choices() -> None:
    first = {"margin": "ldam", "logit_adjustment": "balanced_softmax", "classifier": "cosine", "reweighting": "focal"}
    for picked in (first, dict(reversed(first.items()))):
        (stage,) = bound(assembled(picked)).stages
        assert targets(stage, "adjusts") == ["LDAM", "BalancedSoftmax"]
        assert [part.origin for part in stage.adjusts] == ["margin=ldam", "logit_adjustment=balanced_softmax"]


def test_a_users_criterion_is_refused_in_two_slots_and_beside_paco() -> None:
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


def test_a_stream_with_the_rows_of_another_has_its_images() -> None:
    instance = {"_target_": "ltrun.resampling.Instance"}
    streams = {"weak": {"sampler": instance, "split": "unlabelled"}, "strong": {"of": "weak"}, "tail": {"sampler": instance}}
    recipe = bound(changed(composed(), ensemble={"streams": streams}))
    (stage,) = recipe.stages
    assert recipe.reads_unlabelled and not bound(composed()).reads_unlabelled
    assert [stage.split_of(name) for name in stage.streams] == ["train", "unlabelled", "unlabelled", "train"]
    sentence = refused(changed(composed(), ensemble={"streams": streams | {"strong": {"of": "weak", "split": "train"}}}))
    assert sentence.startswith("ensemble.streams.strong.split: ") and "remove it" in sentence
    sentence = refused(changed(composed(), ensemble={"streams": {"weak": {"sampler": instance, "split": "val"}}}))
    assert sentence.startswith("ensemble.streams.weak.split: ") and "unlabelled" in sentence


def test_a_refusal_in_a_stage_ahead_of_the_plan_names_the_option_that_sets_it() -> None:
    sentence = refused(assembled({"transfer": "crest", "representation": "paco"}))
    assert sentence.startswith("transfer=crest in stage 'generation1' mixes labels, which representation=paco cannot use")
