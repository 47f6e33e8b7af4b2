"""Two options that counter the class prior: allowed, with one warning that names both slots and the measured loss."""

import re

import pytest

from ltrun.metrics import SINGLE_LABEL
from tests.support.cases import LIBRARY, OPTIONS, assembled, bound

MEASURED = "Balanced Softmax on ImageNet-LT falls from 51.2 to 49.1 or less (Zhang et al., arXiv 2110.04596)"
TWICE: list[tuple[dict[str, str], str]] = [  # options, and the stage in which they meet
    ({"resampling": "class_balanced", "logit_adjustment": "balanced_softmax"}, "train"),
    ({"resampling": "drs", "logit_adjustment": "balanced_softmax"}, "train"),
    ({"resampling": "class_aware", "reweighting": "class_balanced"}, "train"),
    ({"resampling": "square_root", "reweighting": "drw"}, "train"),
    ({"reweighting": "class_balanced", "logit_adjustment": "logit_adjustment"}, "train"),
    ({"reweighting": "influence_balanced", "logit_adjustment": "vs"}, "train"),
    ({"reweighting": "softmax_equalization", "logit_adjustment": "deferred_cdt"}, "train"),
    ({"reweighting": "equalization_v2", "resampling": "reversed"}, "train"),
    ({"margin": "loce", "logit_adjustment": "seesaw"}, "train"),
    ({"reweighting": "meta_weight_net", "resampling": "progressively_balanced"}, "train"),
    ({"logit_adjustment": "lade", "posthoc": "pc_softmax"}, "train"),
    ({"resampling": "class_balanced", "posthoc": "logit_adjustment"}, "train"),
    ({"reweighting": "drw", "posthoc": "uno_ic"}, "train"),
    ({"logit_adjustment": "balanced_softmax", "posthoc": "label_shift_em"}, "train"),
]
LAST = [  # a stage plan whose second stage balances, and the option that balances there
    ("crt", "resampling=class_balanced"),
    ("lws", "resampling=class_balanced"),
    ("disalign", "reweighting=generalized_reweighting"),
    ("balms", "logit_adjustment=balanced_softmax"),
]
ONCE: list[dict[str, str]] = [
    {},
    {"posthoc": "logit_adjustment"},
    {"posthoc": "tau_norm", "resampling": "class_balanced"},  # tau-normalisation does not use the prior
    {"posthoc": "logit_adjustment_sweep"},  # six rows of one training, none on top of another
    {"reweighting": "focal", "logit_adjustment": "balanced_softmax"},
    {"reweighting": "label_aware_smoothing", "logit_adjustment": "balanced_softmax"},
    {"margin": "ldam", "classifier": "cosine", "reweighting": "drw"},
    {"logit_adjustment": "lade"},  # two parts of one option
    {"resampling": "meta", "logit_adjustment": "balanced_softmax"},  # the learnt rates account for the loss
    {"decoupling": "crt", "logit_adjustment": "balanced_softmax"},  # one after the other
    {"decoupling": "crt", "resampling": "drs"},
]


def words(picked: dict[str, str]) -> str:
    return "+".join(f"{slot}={option}" for slot, option in picked.items()) or "nothing"


@pytest.mark.parametrize(("picked", "stage"), TWICE, ids=[words(picked) for picked, _ in TWICE])
def test_one_sentence_names_both_slots_and_the_measured_loss(picked: dict[str, str], stage: str) -> None:
    (sentence,) = bound(assembled(picked)).warnings
    assert set(re.findall(r"\w+=\w+", sentence)) == {f"{slot}={option}" for slot, option in picked.items()}
    assert f"stage '{stage}'" in sentence and MEASURED in sentence


@pytest.mark.parametrize(("decoupling", "balancing"), LAST)
def test_a_balancing_post_hoc_part_is_warned_about_with_the_last_stage(decoupling: str, balancing: str) -> None:
    first = {"reweighting": "class_balanced", "resampling": "class_balanced"}  # of the first stage only
    (early, late) = bound(assembled({**first, "decoupling": decoupling, "posthoc": "logit_adjustment"})).warnings
    assert "stage 'train'" in early and "posthoc" not in early
    assert "stage 'classifier'" in late and balancing in late and "posthoc=logit_adjustment" in late
    assert f"decoupling={decoupling}" in late, "the stage has its option from the stage plan"


@pytest.mark.parametrize("picked", ONCE, ids=words)
def test_balancing_once_gives_no_warning(picked: dict[str, str]) -> None:
    assert bound(assembled(picked)).warnings == []


def test_three_balancing_options_give_one_warning() -> None:
    picked = {"resampling": "drs", "reweighting": "class_balanced", "logit_adjustment": "cdt"}
    (sentence,) = bound(assembled(picked)).warnings
    assert all(f"{slot}={option}" in sentence for slot, option in picked.items())


def test_every_option_that_uses_the_counts_or_is_named_balanced_says_that_it_balances() -> None:
    """Combines each option with one that balances. The options without a warning are listed: they leave the prior alone."""
    leaves_it = {
        "resampling": {"instance", "meta", "shot_group", "head_classes"},
        "reweighting": {
            "none", "focal", "focal_detached", "focal_sigmoid", "adaptive_class_suppression", "class_difficulty_balanced",
            "label_aware_smoothing", "drw_label_aware_smoothing", "asymmetric", "asymmetric_softmax", "sum_of_classes",
            "rebalanced", "rebalanced_focal",  # correct what a balancing sampler does with the other labels of its images
        },
        "posthoc": {
            "none", "ncm", "tau_norm", "tau_norm_sweep", "tde", "tde_sweep", "sade_aggregation", "sade_aggregation_jitter",
            "meta_model_net", "knn", "knn_sweep", "ncm_variants", "temperature_scaling",
            "thresholds",
        },
    }  # fmt: skip
    for slot, names in leaves_it.items():
        found = set()
        for option in OPTIONS[slot]:
            needed = {"tde": "causal", "tde_sweep": "causal"}.get(option)
            picked = {slot: option, **balancing(slot, option), **({"classifier": needed} if needed else {})}
            if option.startswith("sade_aggregation"):
                picked["ensemble"] = "sade"
                del picked["logit_adjustment"]  # SADE has its own loss
            found |= {option} if not bound(assembled(picked)).warnings else set()
        assert found == names, slot


def balancing(slot: str, option: str) -> dict[str, str]:
    """Returns an option of another slot that balances, for the task of an option."""
    if SINGLE_LABEL in LIBRARY.tasks(f"{slot}={option}"):
        return {"logit_adjustment": "balanced_softmax"}
    return {"reweighting": "inverse_frequency"} if slot == "resampling" else {"resampling": "class_balanced"}
