"""Addresses and training: configurations share an address if and only if they train the same."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltrun.config.bind import Bound
from ltrun.errors import ConfigError
from ltrun.recipe.stage import Recipe
from ltrun.results.address import fingerprint
from ltrun.taxonomy import STAGE_SLOTS
from tests.support.cases import assembled, bound, changed, nodes
from tests.support.narrow import of_type

Config = dict[str, Any]


def essence(recipe: Recipe) -> Any:
    """Returns all that training depends on: every class with its arguments, by stage, without paths and names of options."""

    def of(part: Any) -> Any:
        if isinstance(part, Bound):
            parameters = inspect.signature(part.target).parameters.values()
            defaults = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
            return part.target, {name: of(value) for name, value in {**defaults, **part.arguments}.items()}
        if isinstance(part, dict):
            return [(name, of(value)) for name, value in part.items()]
        return [of(item) for item in part] if isinstance(part, (list, tuple)) else part

    return [
        of(recipe.source), of(recipe.prepare), of(recipe.backbone), of(recipe.posthoc),
        *(
            [
                stage.name, stage.epochs, stage.trainable, stage.reset_head, stage.norm,
                [(name, of(stream.sampler), stream.of, of(stream.augments)) for name, stream in stage.streams.items()],
                *(of(getattr(stage, role)) for role in (
                    "mixers", "terms", "adjusts", "weighs", "network", "head", "wrap", "update", "criterion", "optimizer",
                    "schedule",
                )),
            ]
            for stage in recipe.stages
        ),
    ]  # fmt: skip


LADEN = {"margin": "ldam", "classifier": "cosine", "augmentation": "cutout", "reweighting": "focal", "decoupling": "crt"}
OWN_PLAN = {"fraction": 0.5}  # a user's own stage, which keeps all slots of the run
KEY = {"of": "main"}
WRAP = {"_target_": "ltrun.classifier.DisAlign"}


def option(slot: str, name: str) -> Config:
    """Returns the part of the configuration that an option writes."""
    return of_type(dict, nodes()[slot][name][0][slot])


@cache
def different() -> dict[str, Any]:
    """Returns pairs of configurations that train differently."""
    return {
        f"a stage with {slot}=none": (
            changed(assembled(LADEN), stages__classifier=OWN_PLAN)[0],
            changed(assembled(LADEN), stages__classifier={**OWN_PLAN, slot: {}})[0],
        )
        for slot in ("margin", "augmentation", "reweighting")
    } | {
        "a stage with an option that is empty inside": (
            changed(assembled(LADEN), stages__classifier=OWN_PLAN)[0],
            changed(assembled(LADEN), stages__classifier={**OWN_PLAN, "augmentation": {"augments": {}}})[0],
        ),
        "a plain stage": (
            changed(assembled(LADEN), stages__classifier=OWN_PLAN)[0],
            changed(assembled(LADEN), stages__classifier={**OWN_PLAN, "base": "plain"})[0],
        ),
        "a plain stage that keeps a slot": (
            assembled(LADEN)[0],
            changed(assembled(LADEN), stages__classifier__keep=["augmentation"])[0],
        ),
        "a plain stage with experts of the run, or without": (
            changed(assembled({"ensemble": "ride", "decoupling": "crt"}))[0],
            changed(assembled({"ensemble": "ride", "decoupling": "crt"}), stages__classifier__ensemble={})[0],
        ),
        "a stream without augmentation": (
            changed(assembled({"augmentation": "cutout"}), ensemble={"streams": {"key": KEY}})[0],
            changed(assembled({"augmentation": "cutout"}), ensemble={"streams": {"key": {**KEY, "augments": {}}}})[0],
        ),
        "the order of mixers": tuple(assembled({"augmentation": two})[0] for two in (["cmo", "mixup"], ["mixup", "cmo"])),
        "the order of augments": tuple(
            assembled({"augmentation": two})[0] for two in (["cutout", "rotation"], ["rotation", "cutout"])
        ),
        "the order of streams": tuple(
            changed(assembled({}), ensemble={"streams": dict.fromkeys(names, KEY)})[0] for names in (("a", "b"), ("b", "a"))
        ),
        "classes of one name in two families": tuple(
            {"x": {"_target_": f"ltrun.{family}.EffectiveNumber"}} for family in ("resampling", "reweighting")
        ),
        "true and one": ({"flag": True}, {"flag": 1}),
        "a value of a sweep": tuple(
            changed(assembled({"posthoc": "tau_norm_sweep"}), posthoc__predictors__tau_norm__each={"tau": values})[0]
            for values in ([0, 1], [0, 2])
        ),
    }  # fmt: skip


def test_configurations_that_train_differently_never_share_a_fingerprint(subtests: pytest.Subtests) -> None:
    for name, (one, other) in different().items():
        with subtests.test(name):
            if "plan" in one:
                assert essence(bound((one, {}))) != essence(bound((other, {}))), "this pair trains the same"
            assert fingerprint(one) != fingerprint(other)


@cache
def same() -> dict[str, tuple[Config, Config]]:
    """Returns pairs of spellings of one configuration."""
    return {
        "a plain stage with options none": (
            assembled(LADEN)[0],
            changed(assembled(LADEN), **{f"stages__classifier__{s}": {} for s in ("margin", "reweighting", "augmentation")})[0],
        ),
        "a stage with options none, of a run without": (
            changed(assembled({"decoupling": "crt"}), stages__classifier=OWN_PLAN)[0],
            changed(assembled({"decoupling": "crt"}), stages__classifier={**OWN_PLAN, "margin": {}})[0],
        ),
        "a stage with null for the classifier of a run that wraps its head": (
            changed(assembled({"decoupling": "crt"}), classifier__wrap=WRAP)[0],
            changed(assembled({"decoupling": "crt"}), classifier__wrap=WRAP, stages__classifier__classifier=None)[0],
        ),
        "a stage with null for a slot": (
            changed(assembled(LADEN), stages__classifier=OWN_PLAN)[0],
            changed(assembled(LADEN), stages__classifier={**OWN_PLAN, "margin": None, "optimizer": None, "base": None})[0],
        ),
        "a data set without augments": (
            changed(assembled({}), dataset__augments={})[0],
            changed(assembled({}), dataset__augments=None)[0],
        ),
        "a stream with null augments": (
            changed(assembled({}), ensemble={"streams": {"key": KEY}})[0],
            changed(assembled({}), ensemble={"streams": {"key": {**KEY, "augments": None}}})[0],
        ),
    }  # fmt: skip


def test_spellings_of_one_configuration_share_a_fingerprint(subtests: pytest.Subtests) -> None:
    for name, (one, other) in same().items():
        with subtests.test(name):
            assert essence(bound((one, {}))) == essence(bound((other, {})))
            assert fingerprint(one) == fingerprint(other)


@cache
def bases() -> list[Config]:
    """Returns the configurations to edit."""
    return [
        *(
            assembled(picked)[0]
            for picked in (
                {},
                LADEN,
                {"decoupling": "balms", "augmentation": ["cutout", "mixup"], "reweighting": "focal"},
                {"decoupling": "disalign", "ensemble": "ride"},
                {"representation": "paco", "decoupling": "lws"},
            )
        ),
        changed(assembled(LADEN), stages__classifier=OWN_PLAN)[0],
        changed(assembled(LADEN), stages__classifier={**OWN_PLAN, "margin": {}, "augmentation": {"streams": {"key": KEY}}})[0],
    ]


@cache
def stage_edits() -> dict[str, st.SearchStrategy[Any]]:
    """Returns key of a stage -> values to give it; "away" removes the key."""
    written = [option("augmentation", "cutout"), option("augmentation", "mixup"), option("reweighting", "focal")]
    nothings: st.SearchStrategy[Any] = st.sampled_from([None, {}, {"streams": {}}, {"augments": None}, "away", *written])
    return {
        **dict.fromkeys(STAGE_SLOTS, nothings),
        "base": st.sampled_from([None, "plain", "away"]),
        "keep": st.sampled_from([None, [], ["augmentation"], ["margin", "augmentation"], "away"]),
        "norm": st.sampled_from(["follow", "track", "away"]),
        "optimizer": st.sampled_from([None, "away"]),
    }


def places(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            yield from places(value, (*path, key))


def edited(config: Config, path: tuple[str, ...], value: Any) -> Config:
    config = copy.deepcopy(config)
    node = config
    for step in path[:-1]:
        node = node[step]
    if isinstance(value, str) and value == "away":
        node.pop(path[-1], None)
    else:
        node[path[-1]] = value
    return config


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_one_fingerprint_is_one_training(data: st.DataObject) -> None:
    """However stages are edited, configurations with one fingerprint train the same."""
    config = data.draw(st.sampled_from(bases()))
    for _ in range(data.draw(st.integers(0, 2))):
        key = data.draw(st.sampled_from(sorted(stage_edits())))
        config = edited(config, ("stages", config["plan"][-1], key), data.draw(stage_edits()[key]))
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(stage_edits())))
        other = edited(config, ("stages", config["plan"][-1], key), data.draw(stage_edits()[key]))
    else:
        place = data.draw(st.sampled_from(sorted(places(config))))
        other = edited(config, place, data.draw(st.sampled_from([None, {}, "away"])))
    if fingerprint(config) != fingerprint(other):
        return
    try:
        first, second = bound((config, {})), bound((other, {}))
    except ConfigError:
        return
    assert essence(first) == essence(second)
