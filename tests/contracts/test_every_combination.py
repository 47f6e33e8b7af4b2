"""Every option, preset and combination of options binds, or is refused in a sentence that names both slots."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from itertools import combinations, product
from typing import Any

import pytest

from ltrun.contracts.library import DIGITS
from ltrun.contracts.presets import binds_without_a_warning
from ltrun.errors import ConfigError
from ltrun.metrics import SINGLE_LABEL
from ltrun.taxonomy import SLOTS
from tests.support.cases import LIBRARY, METHODS, OPTIONS, assembled, bound, choice, nodes, that_accept
from tests.support.recipes import refused, targets
from tests.support.walks import drawn

CONTRASTS = ("kcl", "kcl_large", "sbcl", "supcon", "tsc", "tsc_large")  # train no classifier
ONE_LABEL = {slot: that_accept(SINGLE_LABEL, slot) for slot in SLOTS}  # the papers' options; others are refused by the data set
PAIR = re.compile(r"\b(" + "|".join(SLOTS) + r")=([\w+]+|\[[^\]]*\])")


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
        config, _ = assembled({slot: option})
        assert [stage.name for stage in recipe.stages] == [*config["before"], *config["plan"]]


REFUSED_ALONE = {
    *(f"margin={option}" for option in ("gcl", "ldam", "pml", "robal", "uncertainty")),  # need classifier=cosine
    *(f"representation={option}" for option in CONTRASTS),  # need decoupling=linear
    "decoupling=gcl",  # needs classifier=cosine in its second stage
    "decoupling=ride_routing",  # needs experts
    "decoupling=shike",  # needs ensemble=shike
    "posthoc=sade_aggregation",  # needs experts
    "posthoc=sade_aggregation_jitter",
    *(f"posthoc={option}" for option in ("tde", "tde_sweep")),  # needs classifier=causal
    "transfer=gist",  # needs classifier=gist
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


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_binds_without_a_warning(method: str) -> None:
    binds_without_a_warning(choice("method", method))


# `senseless` knows the papers of these options; `test_combinations_are_refused_for_one_of_their_pairs` has all options.
ENSEMBLES = ("none", "bbn", "ride", "sade")
DECOUPLINGS = (
    "none", "balms", "crt", "crt_class_aware", "disalign", "ftl", "gcl", "lws", "lws_class_aware", "m2m", "metasaug", "ofa",
    "risda", "ssd",
)  # fmt: skip
HEADS = ("causal", "cosine", "disalign", "gist", "learnt_cosine", "linear", "lws")
LOSSES = [
    *({"reweighting": option} for option in ONE_LABEL["reweighting"]),
    *({"logit_adjustment": option} for option in ONE_LABEL["logit_adjustment"] if option != "none"),
    *({"margin": "ldam", "classifier": head} for head in HEADS),
    {"margin": "ldam", "classifier": "cosine", "reweighting": "drw", "logit_adjustment": "logit_adjustment"},
    *({"representation": option} for option in ("paco", "paco_large", "labelled_contrast")),
    {"representation": "paco", "reweighting": "focal"},
    {"representation": "paco", "classifier": "cosine"},
]
MIXING = {"class_weighted_mixup", "cmo", "cutmix", "m2m", "mamix", "manifold_mixup", "mixup", "remix", "unimix", "ofa", "rsg"}
YOUNGER = ("cam", "mixup_large", "rotation_mixup")
MIXES = [*(option for option in ONE_LABEL["augmentation"] if option not in YOUNGER), ["cmo", "mixup"], ["mixup", "cmo"]]


def senseless(loss: Mapping[str, str], augmentation: Any, ensemble: str, decoupling: str) -> list[set[str]]:
    """Returns pairs of slots that exclude each other; a refusal must name one of them. Written anew, from the papers."""
    found = []
    paco = loss.get("representation") in ("paco", "paco_large")
    several = [augmentation] if isinstance(augmentation, str) else augmentation
    if loss.get("margin") == "ldam" and loss["classifier"] != "cosine":
        found.append({"margin", "classifier"})  # a margin on a cosine
    if decoupling == "gcl" and loss.get("classifier") != "cosine":
        found.append({"decoupling", "classifier"})  # the same in its second stage
    own = set(several) & {"isda", "metasaug", "risda"}
    slots = (["augmentation"] if own else []) + (["decoupling"] if decoupling in ("metasaug", "risda") else [])
    if loss.get("classifier", "linear") not in ("linear", "lws"):
        found += [{slot, "classifier"} for slot in slots]  # the variance of a linear product
    if ensemble in ("ride", "sade"):
        found += [{slot, "ensemble"} for slot in slots]  # one matrix of class weights
    if paco and (own or decoupling == "metasaug"):  # the second stage of risda is without PaCo
        found += [{slot, "representation"} for slot in slots]
    if "metasaug" in several and loss.get("reweighting") == "meta_weight_net":
        found.append({"augmentation", "reweighting"})  # both bring an update
    if "metasaug" in several and decoupling == "balms":
        found.append({"augmentation", "decoupling"})  # the same in its second stage
    found += _inside_the_network(loss, set(several), ensemble, decoupling)
    if loss.get("representation", "none") != "none":  # positives have one label
        found += [{"representation", "augmentation"}] if set(several) & MIXING else []
        found += [{"representation", "decoupling"}] if decoupling == "m2m" else []
    if paco and ensemble != "none":
        found.append({"representation", "ensemble"})  # both bring a network
    if paco and loss.keys() & {"reweighting", "margin", "logit_adjustment"}:
        found.append({"representation", next(iter(loss.keys() & {"reweighting", "margin", "logit_adjustment"}))})
    return found


def _inside_the_network(loss: Mapping[str, str], several: set[str], ensemble: str, decoupling: str) -> list[set[str]]:
    """Pairs that exclude each other because both have a way of their own through the network."""
    network = {"ensemble": ensemble, "representation": loss.get("representation", "none")}
    own = {slot for slot, option in network.items() if option != "none"} | ({"augmentation"} if "open" in several else set())
    together = own - ({"ensemble"} if ensemble in ("ride", "sade") else set())  # experts pass each stream alone
    found = [set(pair) for pair in combinations(sorted(own), 2)]  # one network
    inside = ["augmentation"] * bool(several & {"manifold_mixup", "ofa", "rsg"}) + ["decoupling"] * (
        decoupling in ("ftl", "ofa")
    )
    found += [{slot, other} for slot in inside for other in together if slot != other]
    found += [{"augmentation", "ensemble"}] if "manifold_mixup" in several and ensemble in ("ride", "sade") else []  # layer2
    heads = ["augmentation"] * bool(several & {"fasa", "ofa", "rsg"}) + ["decoupling"] * (decoupling == "ofa")
    found += [{slot, "ensemble"} for slot in heads if ensemble in ("ride", "sade")]  # one matrix of class weights
    found += [{slot, "classifier"} for slot in heads if loss.get("classifier") == "disalign"]
    if "augmentation" in inside and loss.get("reweighting") == "meta_weight_net":
        found.append({"augmentation", "reweighting"})  # a gradient of a gradient
    if "augmentation" in inside and decoupling == "balms":
        found.append({"augmentation", "decoupling"})  # the same in its second stage
    return found


def test_every_combination_of_losses_mixes_experts_and_stages_binds_or_names_both_slots() -> None:
    bindable = 0
    for loss, augmentation, ensemble, decoupling in drawn([*product(LOSSES, MIXES, ENSEMBLES, DECOUPLINGS)], 2_000):
        picked = {**loss, "augmentation": augmentation, "ensemble": ensemble, "decoupling": decoupling}
        expected = senseless(loss, augmentation, ensemble, decoupling)
        try:
            bound(assembled(picked))
        except ConfigError as error:
            named = {name for name, _ in PAIR.findall(str(error))}
            assert any(pair <= named for pair in expected), f"{picked} was refused: {error}"
            of_stages = {(key.partition("@")[0], option) for key, option in nodes()["decoupling"][decoupling][1].items()}
            for slot, value in PAIR.findall(str(error)):
                chosen = picked.get(slot, "none")
                if isinstance(chosen, str) and (slot, value) not in of_stages:
                    assert value in (chosen, "linear", "none"), f"{slot}={value} was not chosen: {error}"
        else:
            assert not expected, f"{picked} makes no sense and binds"
            bindable += 1
    assert bindable > 150


WITHOUT_COMPANION = {"decoupling=ride_routing", "decoupling=shike"}  # need an ensemble of their own


def test_an_option_is_refused_by_name_on_data_of_the_other_task() -> None:
    for slot in SLOTS:
        for option in OPTIONS[slot]:
            other = DIGITS.keys() - LIBRARY.tasks(f"{slot}={option}")
            for task in other if f"{slot}={option}" not in WITHOUT_COMPANION else ():
                needs = "several labels per image" if task == SINGLE_LABEL else "one label per image"
                said = refused(LIBRARY.put_together(choice(slot, option).picked, task))
                assert re.search(rf"\w+=\w+.* needs {needs} \(.+\), and dataset=\w+ has .*; choose another option$", said)


def test_mixers_a_margin_weights_and_a_cosine_head_compose() -> None:
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


def test_combinations_are_refused_for_one_of_their_pairs() -> None:
    """Draws options of all slots; whatever is refused names two of the chosen options, and those two are refused alone too."""
    draw = random.Random(0)
    slots = [slot for slot in SLOTS if slot != "transfer"]
    refused = 0
    for _ in range(600):
        picked = {slot: draw.choice(ONE_LABEL[slot]) for slot in draw.sample(slots, 4)}
        try:
            bound(assembled(picked))
        except ConfigError as error:
            refused += 1
            told = str(error)
            assert len(set(re.findall(r"\b(?:" + "|".join(SLOTS) + r")\b", told))) >= 2, f"{picked}: {told}"
            assert "Traceback" not in told and "\n" not in told
            alone = [{slot: picked[slot] for slot in pair} for pair in combinations(picked, 2)]
            assert any(not binds(pair) for pair in [*alone, *({slot: o} for slot, o in picked.items())]), f"{picked}: {told}"
    assert 100 < refused < 590


def binds(picked: dict[str, str]) -> bool:
    try:
        bound(assembled(picked))
    except ConfigError:
        return False
    return True
