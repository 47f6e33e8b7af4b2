"""Recipes between preset and command line: on a data set and a method of a user's own, so that no file of ltrun matters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ltrun.config import published
from ltrun.config.compose import compose_job, composed_by_hydra
from ltrun.config.job import Job
from ltrun.config.presets import composing
from ltrun.sweep.combinations import combinations
from tests.support.files import write_files

FILES = {
    "method/mine.yaml": "# @package _global_\ndefaults:\n  - override /optimizer: ride\n  - override /margin: ldam\n"
    "  - override /classifier: cosine\n",
    "on/method/mine@digits_lt.yaml": "# @package _global_\n# Mine on digits.\n# No publication: a test\n# expected: 90.0\n"
    "defaults:\n  - _self_\n  - override /schedule: cosine\n  - override /reweighting: drw\n\nepochs: 7\nbatch_size: 64\n",
    "on/method/ldam@digits_lt.yaml": "# @package _global_\ndefaults: []\n\nbatch_size: 16\n",
    "on/method/any@digits_lt.yaml": "# @package _global_\ndefaults:\n  - override /optimizer: decoupled\n",
    "on/margin/ldam@digits_lt.yaml": "adjust:\n  max_margin: 0.25\n",
    "on/decoupling/crt@digits_lt.yaml": "stages:\n  classifier:\n    fraction: 0.5\n",
    "method/other.yaml": "# @package _global_\ndefaults:\n  - override /optimizer: ride\n",
    "experiment/short.yaml": "# @package _global_\ndefaults:\n  - override /schedule: bbn\n\nbatch_size: 8\n",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_files(tmp_path_factory.mktemp("options"), FILES)
    with composing([folder]):
        yield folder


def job(*words: str) -> Job:
    return compose_job(["dataset=digits_lt", *words])


def test_a_recipe_stands_between_the_preset_and_the_command_line() -> None:
    recipe = job("method=mine")
    assert recipe.choices["schedule"] == "cosine" and recipe.choices["reweighting"] == "drw"
    assert recipe.choices["optimizer"] == "ride" and recipe.choices["margin"] == "ldam", "the preset's own"
    assert (recipe.config["epochs"], recipe.config["batch_size"]) == (7, 64)
    assert recipe.changes == {}
    typed = job("method=mine", "schedule=multistep", "epochs=3", "batch_size=4", "optimizer.lr=0.5")
    assert typed.choices["schedule"] == "multistep" and typed.config["batch_size"] == 4
    assert typed.changes == {"schedule": "multistep", "epochs": 3, "batch_size": 4, "optimizer.lr": 0.5}
    assert job("batch_size=4", "method=mine").config["epochs"] == 7, "whatever the order of the words"


def test_another_data_set_has_no_recipe() -> None:
    elsewhere = compose_job(["dataset=cifar100_lt", "method=mine"])
    assert elsewhere.config["batch_size"] == 128 and elsewhere.choices["reweighting"] == "none"
    assert elsewhere.config["margin"]["adjust"]["max_margin"] == 0.5


def test_an_ablation_leaves_no_number_behind() -> None:
    assert job("method=mine").config["margin"]["adjust"]["max_margin"] == 0.25
    assert job("margin=ldam", "classifier=cosine").config["margin"]["adjust"]["max_margin"] == 0.25, "the option's number"
    assert not job("method=mine", "margin=none").config["margin"]
    assert job("method=mine", "margin=none").changes == {"margin": "none"}
    assert job("method=crt").config["stages"]["classifier"]["fraction"] == 0.5
    assert "classifier" not in job("method=crt", "decoupling=none").config["stages"]


def test_a_preset_without_a_recipe_takes_what_is_for_any_and_a_users_preset_keeps_its_own() -> None:
    assert job("method=ride").choices["optimizer"] == "decoupled", "the preset's optimizer is for small images"
    assert job("method=ride", "optimizer=ride").choices["optimizer"] == "ride"
    assert job("method=ldam").choices["optimizer"] == "sgd", "it has a recipe"
    assert job("method=other").choices["optimizer"] == "ride"


def test_an_experiment_beats_a_recipe() -> None:
    short = job("method=mine", "experiment=short")
    assert short.choices["schedule"] == "bbn" and short.config["batch_size"] == 8 and short.config["epochs"] == 7


def test_each_job_of_a_sweep_has_its_own_recipe() -> None:
    words = combinations(["method=mine,ride,ldam", "dataset=digits_lt,cifar100_lt", "seed=1"])
    found = [(found.method, found.dataset, found.config["batch_size"]) for found in map(compose_job, words)]
    assert found == [
        ("mine", "digits_lt", 64), ("mine", "cifar100_lt", 128), ("ride", "digits_lt", 32), ("ride", "cifar100_lt", 128),
        ("ldam", "digits_lt", 16), ("ldam", "cifar100_lt", 128),
    ]  # fmt: skip


def test_records_and_labels_know_nothing_of_the_files() -> None:
    assert [group for group in job("method=mine").choices if "on/" in group] == []
    assert job("method=mine").command == ["dataset=digits_lt", "method=mine"]


def test_the_word_of_a_recipe_comes_first_and_only_where_there_is_one() -> None:
    assert published.with_recipe(["dataset=digits_lt", "method=mine"], composed_by_hydra)[0] == "on/method=mine@digits_lt"
    assert published.with_recipe(["method=mine"], composed_by_hydra) == ["method=mine"]
    assert (
        published.with_recipe(["on/method=null", "dataset=digits_lt", "method=mine"], composed_by_hydra)[0] == "on/method=null"
    )


def test_recipes_and_numbers_are_found_without_composing(own: Path) -> None:
    assert {("mine", "digits_lt"), ("ldam", "digits_lt")} <= published.recipes([own]).keys()
    assert not any(method == "any" for method, _ in published.recipes([own]))
    assert published.recipes([own])["mine", "digits_lt"].option.expected == "90.0"
    found = {each.group: each.keys for each in published.numbers("mine", "digits_lt", [own])}
    assert {group: [key.path for key in keys] for group, keys in found.items()} == {"on/margin": ["margin.adjust.max_margin"]}
    assert published.has_defaults("digits_lt", [own]) and not published.has_defaults("digits_lt")
