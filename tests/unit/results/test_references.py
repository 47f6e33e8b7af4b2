"""Which balanced runs are the references of a long-tailed one."""

from __future__ import annotations

from typing import Any

import pytest

from ltrun.results.record import RunRecord
from ltrun.results.references import is_reference, of_method, references
from tests.support.recorded import record

Values = dict[str, Any]


def run(method: str, changes: Values | None = None, seed: int = 0, balanced: bool = False, **config: Any) -> RunRecord:
    dataset = {"profile": "balanced" if balanced else "exponential"}
    changes = {**(changes or {}), **({"dataset.profile": "balanced"} if balanced else {})}
    return record(method, seed, changes=changes, config={"dataset": dataset, **config})


@pytest.mark.parametrize(
    ("changes", "balanced", "plain", "same"),
    [
        ({}, run("ldam", balanced=True), False, True),
        ({}, run("erm", balanced=True), True, False),
        ({}, run("erm"), False, False),  # not balanced
        ({"epochs": 5}, run("erm", {"epochs": 5}, balanced=True), True, False),
        ({"epochs": 5}, run("ldam", {"epochs": 5.0}, balanced=True), False, True),
        ({"epochs": 5}, run("ldam", balanced=True, epochs=6), False, False),
        ({"reweighting": "drw", "margin.s": 3}, run("erm", balanced=True), True, False),
        ({"reweighting": "drw"}, run("erm", {"reweighting": "drw"}, balanced=True), False, False),  # not plain
        ({"stages.classifier.epochs": 5}, run("erm", balanced=True), True, False),
        ({"dataset.imbalance": 50}, run("erm", balanced=True), False, False),
    ],
)
def test_both_references_have_the_other_changes_and_plain_training_none_of_the_method(
    changes: Values, balanced: RunRecord, plain: bool, same: bool
) -> None:
    own = run("ldam", changes, epochs=changes.get("epochs", 200))
    assert (is_reference(balanced, own, plain=True), is_reference(balanced, own, plain=False)) == (plain, same)


def test_a_value_that_one_preset_has_already_is_compared_by_the_configuration() -> None:
    long = run("mixup", epochs=400)  # by its preset, whatever was typed
    of_400, of_200 = run("erm", {"epochs": 400}, balanced=True, epochs=400), run("erm", balanced=True, epochs=200)
    assert is_reference(of_400, long, plain=True)
    short = run("mixup", {"epochs": 200}, epochs=200)
    assert is_reference(of_200, short, plain=True) and not is_reference(of_400, short, plain=True)
    assert references([of_400], long, plain=True) == [of_400]
    assert references([of_400, of_200], long, plain=True) == [of_200], "the same changes before the same values"


def test_references_of_all_seeds_count_and_only_those_of_one_configuration() -> None:
    every = [run("erm", balanced=True, seed=seed) for seed in (0, 1)]
    assert references([*every, run("ldam", balanced=True), run("erm")], run("ldam"), plain=True) == every
    assert references(every, run("ldam"), plain=False) == []


def test_keys_of_slots_and_of_stages_that_plain_training_lacks_are_the_methods() -> None:
    own = ["margin", "margin.s", "posthoc", "decoupling", "stages.classifier.epochs", "before", "plan"]
    assert all(map(of_method, own))
    assert not any(map(of_method, ["epochs", "optimizer.lr", "network", "stages.train.optimizer.lr", "dataset.imbalance"]))
