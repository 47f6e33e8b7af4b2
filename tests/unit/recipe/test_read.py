"""Reading of a recipe: a senseless value is refused with its key path, a clash of two slots with both options."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Sampler, Term
from ltrun.recipe.read import recipe_of
from ltrun.taxonomy import SLOTS
from ltrun.types import Clock, Labels
from tests.support.cases import assembled, bound, changed, composed, nodes
from tests.support.recipes import refused

HERE = __name__


class Rows(Sampler):
    """A sampler for streams that no test draws from."""

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.arange(len(targets))


class Silent(Term):
    """A term that reads the stream `extra`."""

    streams = ("extra",)


ROWS = {"_target_": f"{HERE}.Rows"}


def test_two_slots_that_fill_one_role_are_named() -> None:
    sentence = refused(assembled({"ensemble": "sade", "representation": "paco"}))
    assert "ensemble=sade" in sentence and "representation=paco" in sentence and "cannot be combined" in sentence
    twice = changed(composed("augmentation=cmo"), ensemble__streams={"tail": {"sampler": ROWS}})
    assert "'streams.tail'" in refused(twice, ("tests",))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("plan", [], "plan: expected a list of different stage names"),
        ("plan", ["train", "train"], "plan: expected a list of different stage names"),
        ("plan", "train", "plan: expected a list"),
        ("plan", None, "plan: expected a list"),
        ("plan", ["tran"], "did you mean 'train'"),
        ("plan", [3], "plan: "),
        ("plan", [["train"]], "plan: "),
        ("stages", None, "stage"),
        ("stages__train", 5, "stages.train"),
        ("stages__train", "x", "stages.train"),
        ("stages__train", ["x"], "stages.train"),
        ("stages__train__fracton", 0.5, "stages.train.fracton: a stage has no 'fracton'; did you mean 'fraction'?"),
        ("stages__train__fraction", 0, "stages.train.fraction: expected a number above 0"),
        ("stages__train__fraction", -1.0, "stages.train.fraction: expected a number above 0"),
        ("stages__train__fraction", True, "stages.train.fraction: expected a finite number"),
        ("stages__train__fraction", "half", "stages.train.fraction: expected a finite number"),
        ("stages__train__fraction", math.nan, "stages.train.fraction: expected a finite number"),
        ("stages__train__fraction", math.inf, "stages.train.fraction: expected a"),
        ("stages__train__epochs", 0, "stages.train.epochs: expected a whole number of at least 1"),
        ("stages__train__epochs", 1.5, "stages.train.epochs: expected a whole number"),
        ("stages__train__epochs", True, "stages.train.epochs: expected a whole number"),
        ("stages__train__norm", "freeze", "stages.train.norm: expected one of follow, track, hold"),
        ("stages__train__norm", None, "stages.train.norm: expected one of"),
        ("stages__train__norm", ["hold"], "stages.train.norm: expected one of"),
        ("stages__train__reset_head", "yes", "stages.train.reset_head: expected true or false"),
        ("stages__train__reset_head", 1, "stages.train.reset_head: expected true or false"),
        ("stages__train__base", "plane", "stages.train.base: expected one of plain or null, got 'plane'"),
        ("stages__train__base", True, "stages.train.base: expected one of plain"),
        ("stages__train", {"keep": ["margin"]}, "stages.train.keep: a stage without 'base: plain' keeps every slot"),
        ("stages__train", {"base": "plain", "keep": "margin"}, "stages.train.keep: expected a list of"),
        ("stages__train", {"base": "plain", "keep": ["margn"]}, "stages.train.keep: there is no slot 'margn'; did you mean"),
        ("stages__train", {"base": "plain", "keep": ["classifier"]}, "stages.train.keep: classifier is kept anyway"),
        ("stages__train", {"base": "plain", "keep": ["margin"], "margin": {}}, "the stage has a margin of its own"),
        ("stages__train__trainable", "*head*", "stages.train.trainable: expected a list of"),
        ("stages__train__trainable", [1], "stages.train.trainable: expected a list of"),
        ("stages__train__trainable", [], "stages.train.trainable"),
        ("stages__train__margin", "ldam", "stages.train.margin: expected an option"),
        ("stages__train__margin", ["ldam"], "stages.train.margin: expected an option"),
        ("epochs", 0, "epochs: expected a whole number of at least 1"),
        ("epochs", 2.5, "epochs: expected a whole number, got 2.5"),
        ("selection", "best", "selection: expected one of last, best_val"),
        ("posthoc", {"adjust": {}}, "posthoc.adjust: a post-hoc option has 'predictors' only"),
        ("posthoc__predictors", {"plain": {"_target_": "ltrun.posthoc.TauNorm"}}, "'plain' is the network's own prediction"),
        ("posthoc__predictors", 5, "posthoc.predictors"),
        ("posthoc__predictors", ["ncm"], "posthoc.predictors"),
        ("posthoc", "ncm", "posthoc"),
        ("posthoc", ["ncm"], "posthoc"),
        ("dataset__augments", 5, "dataset.augments"),
        ("dataset__augments", ["crop_flip"], "dataset.augments"),
        ("dataset__augments__extra", None, "dataset.augments.extra: expected a part"),
        ("dataset___target_", None, "dataset: expected a part"),
        ("dataset___target_", "ltrun.resampling.Instance", "dataset: ltrun.resampling.Instance is not a Source"),
        ("dataset___target_", "ltrun.errors.ConfigError", "dataset: "),
        ("dataset__imbalance", "much", "dataset.imbalance: expected a finite number, got 'much'"),
        ("dataset__imbalace", 50, "dataset.imbalace: ltrun.data.DigitsLT takes no 'imbalace'; did you mean 'imbalance'?"),
        ("dataset__inert", ["rot"], "dataset.inert: the data set has no argument 'rot'"),
        ("dataset__inert", ["profil"], "dataset.inert: the data set has no argument 'profil'; did you mean 'profile'?"),
        ("dataset__inert", ["augments"], "dataset.inert: the data set has no argument 'augments'"),
        ("dataset__inert", "profile", "dataset.inert: expected a list of"),
        ("network", {"_target_": "ltrun.network.Plain"}, "network: "),
        ("optimizer", {"_target_": "ltrun.schedule.Cosine"}, "optimizer: "),
        ("schedule", "cosine", "schedule: expected a part"),
        ("margin", ["ldam"], "margin: expected an option"),
        ("margin", 3, "margin: expected an option"),
        ("margin__adjst", {}, "margin.adjst: an option has no 'adjst'; did you mean 'adjust'?"),
        ("margin__adjust", "ldam", "margin.adjust: expected a part"),
        ("margin__adjust", [{"_target_": "ltrun.margin.LDAM"}], "margin.adjust: expected a part"),
        ("margin__mixers", [], "margin.mixers: expected a mapping of names to values"),
        ("margin__terms", {"extra": {"_target_": "ltrun.ensemble.BBN"}}, "margin.terms.extra: expected 'part'"),
        ("margin__terms", {"extra": {"weight": 1.0}}, "margin.terms.extra: expected 'part'"),
        ("margin__terms", {"extra": None}, "margin.terms.extra: expected 'part'"),
        ("margin__streams", {"extra": {}}, "margin.streams.extra: expected 'sampler' or 'of'"),
        ("margin__streams", {"extra": {"of": "main", "sampler": ROWS}}, "margin.streams.extra: expected 'sampler' or 'of'"),
        ("margin__streams", {"extra": {"of": "mian"}}, "'mian'"),
        ("margin__streams", {"extra": {"of": 5}}, "extra"),
        ("margin__streams", {"extra": {"of": ["main"]}}, "extra"),
        ("margin__streams", {"extra": {"of": "main", "augments": ["x"]}}, "margin.streams.extra"),
        (
            "margin__streams",
            {"extra": {"of": "main", "augments": {"x": 1}}},
            "margin.streams.extra.augments.x: expected a part",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_senseless_value_is_refused_in_one_sentence_with_its_path(path: str, value: Any, said: str) -> None:
    sentence = refused(changed(composed(), **{path: value}), ("tests",))
    assert said in sentence and "\n" not in sentence


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, True, "1", None, [1.0]])
def test_the_weight_of_a_term_is_a_finite_number(weight: Any) -> None:
    term = {"weight": weight, "part": {"_target_": "ltrun.ensemble.BBN"}}
    sentence = refused(changed(composed("ensemble=bbn"), margin__terms={"extra": term}))
    assert sentence.startswith("margin.terms.extra.weight: expected a")


@pytest.mark.parametrize(
    "streams",
    [
        {"one": {"of": "one"}},
        {"one": {"of": "two"}, "two": {"of": "one"}},
        {"main": {"of": "other"}, "other": {"sampler": ROWS}},
        {"main": {"of": "main"}},
    ],
    ids=str,
)
def test_streams_that_lead_to_no_sampler_are_refused(streams: dict[str, Any]) -> None:
    """A chain of `of` must end at a stream with a sampler, and only resampling may give `main` its sampler."""
    refused(changed(composed(), margin__streams=streams), ("tests",))


def test_a_stream_of_a_stream_of_main_is_drawn_or_refused(tmp_path: Any) -> None:
    from tests.support.cases import small, trainer

    config = small(changed(composed(), margin__streams={"one": {"of": "two"}, "two": {"of": "main"}}), epochs=1)
    try:
        recipe = bound(config)
    except ConfigError:
        return
    trainer(recipe, tmp_path).run()


def test_a_slot_cannot_silently_replace_the_main_stream() -> None:
    """Resampling gives `main` its sampler; another slot would override the sampler."""
    sentence = refused(changed(composed("resampling=square_root"), ensemble__streams={"main": {"sampler": ROWS}}), ("tests",))
    assert "main" in sentence


def test_a_term_whose_stream_no_slot_provides_is_refused() -> None:
    term = {"part": {"_target_": f"{HERE}.Silent"}}
    sentence = refused(changed(composed(), margin__terms={"mine": term}), ("tests",))
    assert "'extra'" in sentence and "stage 'train'" in sentence
    bound(changed(composed(), margin__terms={"mine": term}, ensemble__streams={"extra": {"of": "main"}}), ("tests",))


def test_a_later_stage_cannot_replace_the_network() -> None:
    second = {"fraction": 0.5, "ensemble": nodes()["ensemble"]["ride"][0]["ensemble"]}
    sentence = refused(changed(composed("method=crt"), stages__classifier=second))
    assert "would replace train's network" in sentence and "stages.classifier" in sentence


def test_a_head_that_a_later_stage_would_ignore_is_refused() -> None:
    """Without reset_head the first stage's head stays, so a margin on cosines would read the logits of a linear head."""
    second = {"fraction": 0.5, "classifier": nodes()["classifier"]["cosine"][0]["classifier"]}
    second |= {"margin": nodes()["margin"]["ldam"][0]["margin"]}
    sentence = refused(changed(composed("method=crt"), stages__classifier=second))
    assert "stages.classifier" in sentence or "classifier=cosine" in sentence
    bound(changed(composed("method=crt"), stages__classifier=second | {"reset_head": True}))


# -------------------------------------------------------------------------------------------------------- arbitrary values


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**70)
    | st.floats()
    | st.sampled_from(["", "main", "none", "ltrun.margin.LDAM", "*", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["_target_", "sampler", "of", "part", "weight", "main", "train"]), inner, max_size=2)
    ),
    max_leaves=3,
)
READ = (
    "network",
    "optimizer",
    "schedule",
    "plan",
    "stages",
    "epochs",
    "selection",
    "dataset",
    *SLOTS,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every value in a configuration that the recipe reads."""
    if path and ".".join(map(str, path[:2])).startswith(READ):
        yield path
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield from places(value, (*path, key))


RICH = [("method=crt", "augmentation=[cmo,mixup]", "reweighting=drw", "posthoc=ncm"), ("method=paco",), ("method=sade",)]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_configuration_binds_or_is_refused(data: st.DataObject) -> None:
    config, choices = composed(*data.draw(st.sampled_from(RICH)))
    place = data.draw(st.sampled_from(sorted(places(config), key=str)))
    node = config
    for key in place[:-1]:
        node = node[key]
    value = data.draw(junk)
    node[place[-1]] = value
    try:
        recipe = recipe_of(config, choices)
    except ConfigError as error:
        assert str(error)
    else:
        assert all(stage.epochs >= 1 for stage in recipe.stages)


@pytest.mark.parametrize(
    ("picked", "said"),
    [
        ({"decoupling": "disalign", "posthoc": "tau_norm"}, "posthoc=tau_norm reads head, products, which the plain network"),
        ({"classifier": "disalign", "posthoc": "tau_norm"}, "classifier=disalign do not provide"),
        ({"classifier": "cosine", "posthoc": "tau_norm"}, "choose classifier 'linear' or 'lws'"),
        ({"classifier": "causal", "posthoc": "tau_norm_sweep"}, "posthoc=tau_norm_sweep reads products"),
        ({"classifier": "causal", "posthoc": "tde", "decoupling": "disalign"}, "posthoc=tde reads head, heads of cosines"),
        ({"classifier": "causal", "posthoc": "tde", "decoupling": "lws"}, "posthoc=tde reads heads of cosines"),
        ({"ensemble": "ride", "posthoc": "tau_norm"}, "posthoc=tau_norm reads head"),
    ],
    ids=str,
)
def test_posthoc_is_refused_where_class_weights_do_not_make_the_logits(picked: dict[str, str], said: str) -> None:
    """The row of tau_norm would ignore the calibration that DisAlign learns in the second stage."""
    assert said in refused(assembled(picked))


@pytest.mark.parametrize(
    "picked", [{}, {"decoupling": "crt"}, {"decoupling": "lws"}, {"classifier": "lws"}, {"ensemble": "bbn"}], ids=str
)
def test_posthoc_reads_class_weights_that_make_the_logits(picked: dict[str, str]) -> None:
    assert "tau_norm" in bound(assembled({**picked, "posthoc": "tau_norm"})).posthoc


def test_a_margin_on_cosines_is_refused_with_a_head_that_wraps_the_cosine_head() -> None:
    """The second stage keeps the cosine head of the first stage, and DisAlign changes the cosines."""
    wrapped = changed(
        assembled({"classifier": "cosine", "margin": "ldam", "decoupling": "disalign"}),
        stages__classifier__keep=["margin"],
    )
    assert "margin=ldam reads cosines" in refused(wrapped)
    again = changed(
        assembled({"classifier": "cosine", "posthoc": "tau_norm", "decoupling": "crt"}), stages__classifier__reset_head=True
    )
    assert "posthoc=tau_norm reads products" in refused(again)
