"""Slots contribute to a recipe, stages are diffs; what makes no sense is refused in a sentence that names both slots."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import open_dict
from torch import Tensor

from ltrun.config.compose import Job, job_of
from ltrun.errors import ConfigError
from ltrun.parts import Criterion, Sampler, Term
from ltrun.recipe.read import recipe_of
from ltrun.results.address import fingerprint
from ltrun.taxonomy import SLOTS
from ltrun.types import Clock, Labels
from tests.support.cases import METHODS, OPTIONS, assembled, bound, changed, composed, nodes

HERE = __name__
PAIR = re.compile(r"\b(" + "|".join(SLOTS) + r")=([\w+]+|\[[^\]]*\])")


class Rows(Sampler):
    """A sampler for streams; never drawn from here."""

    def draw(self, targets: Labels, clock: Clock, generator: torch.Generator) -> Tensor:
        return torch.arange(len(targets))


class Mine(Criterion):
    """A criterion of a user's own."""


class Silent(Term):
    """A term that reads a stream of its own."""

    streams = ("extra",)


ROWS = {"_target_": f"{HERE}.Rows"}


def refused(composition: tuple[dict[str, Any], dict[str, str]], plugins: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        bound(composition, plugins)
    return str(caught.value)


def targets(stage: Any, role: str) -> list[str]:
    found = getattr(stage, role)
    found = list(found.values()) if isinstance(found, dict) else found
    return [(part[1] if isinstance(part, tuple) else part).target.__name__ for part in found]


# ---------------------------------------------------------------------------------------------------------- every option


@pytest.mark.parametrize(("slot", "option"), [(slot, option) for slot in SLOTS for option in OPTIONS[slot]])
def test_every_option_composes_and_binds_or_is_refused_by_name(slot: str, option: str) -> None:
    written, choices = nodes()[slot][option]
    assert choices[slot] == option
    if option == "none" and slot != "decoupling":
        assert not written[slot], "none contributes nothing"
    try:
        recipe = bound(assembled({slot: option}))
    except ConfigError as error:
        named = dict(PAIR.findall(str(error)))
        assert named.get(slot) == option and len(named) >= 2, f"the sentence does not name both slots: {error}"
        assert "Traceback" not in str(error) and "\n" not in str(error)
    else:
        assert len(recipe.stages) == len(assembled({slot: option})[0]["plan"])


REFUSED_ALONE = {
    *(f"margin={option}" for option in ("gcl", "ldam", "pml", "robal", "uncertainty")),  # on cosines: classifier=cosine
    "decoupling=gcl",  # the same in its second stage
    "posthoc=sade_aggregation",  # needs experts
    *(f"posthoc={option}" for option in ("tde", "tde_sweep")),  # needs classifier=causal
}


def test_only_options_that_need_another_are_refused_alone() -> None:
    found = set()
    for slot in SLOTS:
        for option in OPTIONS[slot]:
            try:
                bound(assembled({slot: option}))
            except ConfigError:
                found.add(f"{slot}={option}")
    assert found == REFUSED_ALONE


@pytest.mark.contract
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_binds_without_a_warning(method: str) -> None:
    recipe = bound(composed(f"method={method}"))
    assert recipe.warnings == []
    assert sum(stage.epochs for stage in recipe.stages) >= 40


def test_putting_options_together_by_hand_is_what_hydra_does() -> None:
    """The products below are made without Hydra, in a thousandth of the time."""
    picked = {"margin": "ldam", "classifier": "cosine", "decoupling": "lws", "reweighting": "drw", "posthoc": "tau_norm"}
    by_hand, by_hydra = assembled(picked), composed(*(f"{slot}={option}" for slot, option in picked.items()))
    assert by_hand == by_hydra
    several, choices = assembled({"augmentation": ["cmo", "mixup"]})
    by_hydra = composed("augmentation=[cmo,mixup]")
    assert several == by_hydra[0] and choices == by_hydra[1]
    assert list(several["augmentation"]["mixers"]) == list(by_hydra[0]["augmentation"]["mixers"]) == ["cmo", "mixup"]


LOSSES = [
    *({"reweighting": option} for option in OPTIONS["reweighting"]),
    *({"logit_adjustment": option} for option in OPTIONS["logit_adjustment"] if option != "none"),
    *({"margin": "ldam", "classifier": head} for head in OPTIONS["classifier"]),
    {"margin": "ldam", "classifier": "cosine", "reweighting": "drw", "logit_adjustment": "logit_adjustment"},
    *({"representation": option} for option in OPTIONS["representation"] if option != "none"),
    {"representation": "paco", "reweighting": "focal"},
    {"representation": "paco", "classifier": "cosine"},
]
MIXES = [*OPTIONS["augmentation"], ["cmo", "mixup"], ["mixup", "cmo"]]


def senseless(loss: Mapping[str, str], augmentation: Any, ensemble: str, decoupling: str) -> list[set[str]]:
    """Pairs of slots of which one sentence must name one; written down a second time, from what the papers say."""
    found = []
    paco, several = loss.get("representation") == "paco", [augmentation] if isinstance(augmentation, str) else augmentation
    if loss.get("margin") == "ldam" and loss["classifier"] != "cosine":
        found.append({"margin", "classifier"})  # a margin on a cosine
    if decoupling == "gcl" and loss.get("classifier") != "cosine":
        found.append({"decoupling", "classifier"})  # the same in its second stage
    if paco and set(several) & {"cmo", "mixup"}:
        found.append({"representation", "augmentation"})  # positives have one label
    if paco and ensemble != "none":
        found.append({"representation", "ensemble"})  # both bring a network
    if paco and loss.keys() & {"reweighting", "margin", "logit_adjustment"}:
        found.append({"representation", next(iter(loss.keys() & {"reweighting", "margin", "logit_adjustment"}))})
    return found


@pytest.mark.contract
def test_every_combination_of_losses_mixes_experts_and_stages_binds_or_names_both_slots() -> None:
    bindable = 0
    for loss, augmentation, ensemble, decoupling in product(LOSSES, MIXES, OPTIONS["ensemble"], OPTIONS["decoupling"]):
        picked = {**loss, "augmentation": augmentation, "ensemble": ensemble, "decoupling": decoupling}
        expected = senseless(loss, augmentation, ensemble, decoupling)
        try:
            bound(assembled(picked))
        except ConfigError as error:
            named = {name for name, _ in PAIR.findall(str(error))}
            assert any(pair <= named for pair in expected), f"{picked} was refused: {error}"
            for slot, value in PAIR.findall(str(error)):
                chosen = picked.get(slot, "none")
                if isinstance(chosen, str) and (slot, value, decoupling) != ("margin", "gcl", "gcl"):
                    assert value in (chosen, "linear", "none"), f"{slot}={value} was not chosen: {error}"
        else:
            assert not expected, f"{picked} makes no sense and binds"
            bindable += 1
    assert bindable > 500


@pytest.mark.parametrize("augmentation", [["cmo", "mixup"], ["mixup", "cmo"]])
def test_an_option_of_several_is_named_in_a_refusal(augmentation: list[str]) -> None:
    sentence = refused(assembled({"representation": "paco", "augmentation": augmentation}))
    assert "representation=paco" in sentence and re.search(r"augmentation=\S*(cmo|mixup)", sentence)


def test_what_the_issue_asks_for_composes() -> None:
    everything = {"augmentation": ["cmo", "mixup"], "margin": "ldam", "reweighting": "drw", "classifier": "cosine"}
    (stage,) = bound(assembled(everything)).stages
    assert list(stage.streams) == ["main", "tail"] and list(stage.mixers) == ["cmo", "mixup"]
    assert (targets(stage, "adjusts"), targets(stage, "weighs"), stage.head.target.__name__) == (
        ["LDAM"],
        ["Deferred"],
        "Cosine",
    )
    for loss in LOSSES:
        if not senseless(loss, "none", "none", "crt"):
            bound(assembled({**loss, "decoupling": "crt"}))
    bound(assembled({"ensemble": "sade", "classifier": "cosine", "augmentation": "cmo"}))


def test_parts_come_in_slot_order_whatever_order_they_are_chosen_in() -> None:
    first = {"margin": "ldam", "logit_adjustment": "balanced_softmax", "classifier": "cosine", "reweighting": "focal"}
    for picked in (first, dict(reversed(first.items()))):
        (stage,) = bound(assembled(picked)).stages
        assert targets(stage, "adjusts") == ["LDAM", "BalancedSoftmax"]
        assert [part.origin for part in stage.adjusts] == ["margin=ldam", "logit_adjustment=balanced_softmax"]


def test_binding_opens_no_data_and_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ltrun.config.bind import Bound

    monkeypatch.setattr(Bound, "build", lambda *_: pytest.fail("a part was built"))
    config = composed("dataset=cifar100_lt", "dataset.root=/no/such/place")
    bound(config)


def test_binding_changes_nothing() -> None:
    for composition in (composed("method=crt"), composed("method=sade"), assembled(LADEN)):
        before = copy.deepcopy(composition)
        bound(composition)
        assert composition == before


def test_two_slots_that_fill_one_role_are_named() -> None:
    sentence = refused(assembled({"ensemble": "sade", "representation": "paco"}))
    assert "ensemble=sade" in sentence and "representation=paco" in sentence and "cannot be combined" in sentence
    twice = changed(composed("augmentation=cmo"), ensemble__streams={"tail": {"sampler": ROWS}})
    assert "'streams.tail'" in refused(twice, ("tests",))


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


# ---------------------------------------------------------------------------------------------------------------- stages


LADEN = {
    "margin": "ldam", "reweighting": "drw", "logit_adjustment": "logit_adjustment", "classifier": "cosine",
    "augmentation": ["cmo", "mixup"],
}  # fmt: skip  # what a second stage must not inherit


@pytest.mark.parametrize("decoupling", ["crt", "lws"])
def test_the_second_stage_is_plain_and_balanced_whatever_the_first_was(decoupling: str) -> None:
    joint, second = bound(assembled({**LADEN, "decoupling": decoupling})).stages
    assert targets(joint, "adjusts") == ["LDAM", "LogitAdjustment"] and list(joint.mixers) == ["cmo", "mixup"]
    assert second.adjusts == [] and second.weighs == [] and second.mixers == {} and second.terms == {}
    assert list(second.streams) == ["main"]
    sampler = second.streams["main"].sampler
    assert sampler is not None and sampler.target.__name__ == "Power" and sampler.arguments["q"] == 0.0
    assert second.streams["main"].augments == joint.streams["main"].augments, "the data set's own remain"
    assert second.optimizer.arguments["weight_decay"] == 5e-4 and joint.optimizer.arguments["weight_decay"] == 2e-4
    assert second.norm == "track" and joint.norm == "follow" and joint.trainable is None
    assert (second.reset_head, second.wrap is not None) == (decoupling == "crt", decoupling == "lws")
    assert joint.wrap is None and not joint.reset_head


def test_a_stage_inherits_what_it_does_not_set() -> None:
    config = changed(
        assembled({"decoupling": "crt", "logit_adjustment": "balanced_softmax"}),
        stages__classifier={"trainable": ["*head*"], "fraction": 0.5},
    )
    joint, second = bound(config).stages
    assert targets(second, "adjusts") == ["BalancedSoftmax"] and second.streams == joint.streams
    assert second.optimizer.arguments == joint.optimizer.arguments and second.schedule.arguments == joint.schedule.arguments
    assert not second.reset_head and second.norm == "follow" and second.epochs == 20


@pytest.mark.parametrize(
    ("epochs", "fraction", "expected"),
    [(200, 0.15, 30), (40, 0.15, 6), (3, 0.15, 1), (1, 0.15, 1), (100, 0.29, 29), (10, 1.0, 10), (10, 2, 20), (7, 0.5, 3)],
)
def test_the_length_of_a_stage(epochs: int, fraction: float, expected: int) -> None:
    config = changed(composed("method=crt"), epochs=epochs, stages__classifier__fraction=fraction)
    assert [stage.epochs for stage in bound(config).stages] == [epochs, expected]
    fixed = changed(config, stages__classifier__epochs=4)
    assert [stage.epochs for stage in bound(fixed).stages] == [epochs, 4]


def test_the_plan_gives_the_order() -> None:
    config = changed(composed("method=crt"), plan=["classifier", "train"])
    assert [stage.name for stage in bound(config).stages] == ["classifier", "train"]
    assert [stage.name for stage in bound(changed(config, plan=["train"])).stages] == ["train"]


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
        ("stages__train__fraction", True, "stages.train.fraction: expected a number above 0"),
        ("stages__train__fraction", "half", "stages.train.fraction: expected a number above 0"),
        ("stages__train__fraction", math.nan, "stages.train.fraction: expected a number above 0"),
        ("stages__train__fraction", math.inf, "stages.train.fraction: expected a"),
        ("stages__train__epochs", 0, "stages.train.epochs: expected a whole number of at least 1"),
        ("stages__train__epochs", 1.5, "stages.train.epochs: expected a whole number of at least 1"),
        ("stages__train__epochs", True, "stages.train.epochs: expected a whole number of at least 1"),
        ("stages__train__norm", "freeze", "stages.train.norm: expected one of follow, track, hold"),
        ("stages__train__norm", None, "stages.train.norm: expected one of"),
        ("stages__train__norm", ["hold"], "stages.train.norm: expected one of"),
        ("stages__train__reset_head", "yes", "stages.train.reset_head: expected one of true, false"),
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
        ("dataset__source", None, "dataset.source: expected a part"),
        ("dataset__source", {"_target_": "ltrun.resampling.Instance"}, "dataset.source"),
        ("dataset__source", {"_target_": "ltrun.errors.ConfigError"}, "dataset.source"),
        ("network", {"_target_": "ltrun.network.Plain"}, "network: "),
        ("optimizer", {"_target_": "ltrun.schedule.Cosine"}, "optimizer: "),
        ("schedule", "cosine", "schedule: expected a part"),
        ("margin", ["ldam"], "margin: expected an option"),
        ("margin", 3, "margin: expected an option"),
        ("margin__adjst", {}, "margin.adjst: an option has no 'adjst'; did you mean 'adjust'?"),
        ("margin__adjust", "ldam", "margin.adjust: expected a part"),
        ("margin__adjust", [{"_target_": "ltrun.margin.LDAM"}], "margin.adjust: expected a part"),
        ("margin__mixers", [], "margin.mixers: expected names with a value each"),
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
def test_a_senseless_value_is_one_sentence_with_its_path(path: str, value: Any, said: str) -> None:
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
def test_streams_that_lead_nowhere_are_refused(streams: dict[str, Any]) -> None:
    """A stream of another's rows needs one that draws at the end; `main` is what resampling draws."""
    refused(changed(composed(), margin__streams=streams), ("tests",))


def test_a_stream_of_a_stream_of_main_is_drawn_or_refused(tmp_path: Any) -> None:
    from tests.support.cases import small, trainer

    config = small(changed(composed(), margin__streams={"one": {"of": "two"}, "two": {"of": "main"}}), epochs=1)
    try:
        recipe = bound(config)
    except ConfigError:
        return
    trainer(recipe, tmp_path).run()


def test_a_slot_cannot_replace_the_main_stream_unseen() -> None:
    """resampling draws it; another slot that wants to would override it silently."""
    sentence = refused(changed(composed("resampling=square_root"), ensemble__streams={"main": {"sampler": ROWS}}), ("tests",))
    assert "main" in sentence


def test_a_term_whose_stream_nobody_provides_is_refused() -> None:
    term = {"part": {"_target_": f"{HERE}.Silent"}}
    sentence = refused(changed(composed(), margin__terms={"mine": term}), ("tests",))
    assert "'extra'" in sentence and "stage 'train'" in sentence
    bound(changed(composed(), margin__terms={"mine": term}, ensemble__streams={"extra": {"of": "main"}}), ("tests",))


def test_a_later_stage_cannot_bring_another_network() -> None:
    second = {"fraction": 0.5, "ensemble": nodes()["ensemble"]["ride"][0]["ensemble"]}
    sentence = refused(changed(composed("method=crt"), stages__classifier=second))
    assert "would replace the network" in sentence and "stages.classifier" in sentence


def test_a_head_that_a_later_stage_would_ignore_is_refused() -> None:
    """Without reset_head the stage goes on with the head it finds, so a margin on cosines would read a linear head's logits."""
    second = {"fraction": 0.5, "classifier": nodes()["classifier"]["cosine"][0]["classifier"]}
    second |= {"margin": nodes()["margin"]["ldam"][0]["margin"]}
    sentence = refused(changed(composed("method=crt"), stages__classifier=second))
    assert "stages.classifier" in sentence or "classifier=cosine" in sentence
    bound(changed(composed("method=crt"), stages__classifier=second | {"reset_head": True}))


# -------------------------------------------------------------------------------------------------------------------- jobs


def job(*overrides: str) -> Job:
    """As the command line makes it."""
    GlobalHydra.instance().clear()
    words = ["dataset=digits_lt", *overrides]
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        cfg = compose("config", words, return_hydra_config=True)
        choices = dict(cfg.hydra.runtime.choices)
        with open_dict(cfg):
            del cfg["hydra"]
        return job_of(cfg, choices, words)


def test_runs_that_differ_have_addresses_that_differ() -> None:
    """Mixers and augments work in their order: another order is another run, not one that is 'done before'."""
    pairs: list[tuple[dict[str, str | Sequence[str]], dict[str, str | Sequence[str]]]] = [
        ({"augmentation": ["cmo", "mixup"]}, {"augmentation": ["mixup", "cmo"]}),
        ({"augmentation": ["cutout", "rotation"]}, {"augmentation": ["rotation", "cutout"]}),
        ({"reweighting": "drw"}, {"reweighting": "class_balanced"}),
        ({"decoupling": "crt"}, {"decoupling": "lws"}),
    ]
    for one, other in pairs:
        assert fingerprint(assembled(one)[0]) != fingerprint(assembled(other)[0]), f"{one} and {other} have one address"
    assert fingerprint(assembled({"augmentation": ["cmo"]})[0]) == fingerprint(assembled({"augmentation": "cmo"})[0])


def test_a_preset_written_out_is_the_preset() -> None:
    preset, written = job("method=ldam_drw"), job("method=ldam_drw", "margin=ldam", "classifier=cosine", "seed=3")
    assert preset.changes == written.changes == {} and preset.fingerprint == written.fingerprint
    assert written.seed == 3 and written.folder == preset.folder.parent / "seed3"
    assert preset.folder.parts[-4:-1] == ("digits_lt", "ldam_drw", preset.fingerprint)


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        (("method=ldam_drw", "reweighting=none"), {"reweighting": "none"}),
        (("method=ldam", "margin.adjust.max_margin=0.3", "epochs=3"), {"margin.adjust.max_margin": 0.3, "epochs": 3}),
        (("augmentation=[cmo,mixup]",), {"augmentation": "[cmo,mixup]"}),
        (("method=crt", "stages.classifier.fraction=0.5"), {"stages.classifier.fraction": 0.5}),
        (("method=crt", "plan=[train]"), {"plan": ["train"]}),
        (("method=crt", "decoupling=none"), {"decoupling": "none"}),
        (("margin=ldam", "classifier=cosine", "margin.adjust.max_margin=0.3"),
         {"margin": "ldam", "classifier": "cosine", "margin.adjust.max_margin": 0.3}),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_row_is_labelled_by_what_was_changed(overrides: tuple[str, ...], changes: dict[str, Any]) -> None:
    assert job(*overrides).changes == changes


@pytest.mark.parametrize(
    "override",
    ["~posthoc", "~plan", "~seed", "~evaluation.every", "evaluation=null", "runtime=null", "outputs=null", "outputs=3"],
)
def test_a_key_that_is_taken_away_is_a_sentence_or_does_no_harm(override: str) -> None:
    try:
        made = job(override)
    except ConfigError as error:
        assert override.lstrip("~").partition("=")[0].partition(".")[0] in str(error)
        return
    recipe_of(made.config, made.choices, made.settings.plugins)


def test_a_slot_of_a_stage_that_is_given_a_word_is_a_sentence() -> None:
    """Where the group's option would be meant: +margin@stages.train.margin=ldam."""
    made = job("+stages.train.margin=ldam")
    with pytest.raises(ConfigError, match=r"stages\.train\.margin"):
        recipe_of(made.config, made.choices, made.settings.plugins)


# ------------------------------------------------------------------------------------------------------------ whatever else


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
    "dataset.source",
    "dataset.augments",
    *SLOTS,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a configuration that the recipe reads."""
    if path and ".".join(map(str, path[:2])).startswith(READ):
        yield path
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield from places(value, (*path, key))


RICH = [("method=crt", "augmentation=[cmo,mixup]", "reweighting=drw", "posthoc=ncm"), ("method=paco",), ("method=sade",)]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_stands_in_the_configuration_it_binds_or_is_refused(data: st.DataObject) -> None:
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
