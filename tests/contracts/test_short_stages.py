"""Short stages, for every option of conf/: the first epoch is the same as in a long stage, and deferred parts warn."""

from __future__ import annotations

import pytest

from ltrun.contracts import losses, samplers
from ltrun.types import Clock, fraction_of
from tests.support.cases import METHODS, OPTIONS, assembled, bound, changed, composed, of_each_task

LOSSES = [(slot, o) for slot in ("reweighting", "margin", "logit_adjustment") for o in OPTIONS[slot] if o != "none"]
DEFERRED = {
    "reweighting": {
        "drw", "drw_class_balanced_focal", "drw_inverse_frequency", "drw_label_aware_smoothing", "influence_balanced",
        "influence_balanced_focal", "class_difficulty_balanced", "drw_mean_of_rows",
    },
    "margin": {"uncertainty"},
    "logit_adjustment": {"deferred_balanced_softmax", "deferred_cdt"},
    "resampling": {"drs", "dynamic_curriculum", "progressively_balanced"},
    "augmentation": {"cuda", "fasa", "frame_stack", "isda", "open", "rsg"},
    "ensemble": {"bbn"},
}  # fmt: skip


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_the_loss_of_the_first_epoch_is_the_same_in_short_and_long_stages(slot: str, option: str) -> None:
    for each in of_each_task(slot, option):
        losses.begins_alike(each)


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_the_rows_of_the_first_epoch_are_the_same_in_short_and_long_stages(option: str) -> None:
    for each in of_each_task("resampling", option):
        samplers.draws_alike(each)


@pytest.mark.parametrize("start", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_a_deferred_part_is_off_in_the_first_epoch(start: float) -> None:
    for epochs in (1, 2, 3, 5, 10, 200):
        on = [Clock("train", epoch, epochs).passed(start) for epoch in range(epochs)]
        begin = max(1, fraction_of(epochs, start)) if start else 0
        assert on == [epoch >= begin for epoch in range(epochs)]
        assert start == 0 or epochs * start < 1 or begin == fraction_of(epochs, start), "a long stage switches at its fraction"


@pytest.mark.parametrize("slot", DEFERRED)
def test_a_stage_too_short_for_its_deferred_part_gives_one_warning(slot: str) -> None:
    for option in OPTIONS[slot]:
        needed = {"classifier": "cosine"} if slot == "margin" else {}
        composition = assembled({slot: option, **needed})
        for epochs in (1, 2):
            warnings = bound(changed(composition, epochs=epochs)).warnings
            told = [sentence for sentence in warnings if "to take effect" in sentence]
            assert len(told) == (epochs == 1 and option in DEFERRED[slot]), (option, epochs)
            assert not told or told[0].startswith(f"stage 'train' has 1 epoch, too few for {slot}={option}")


def test_a_start_of_zero_gives_no_warning() -> None:
    assert bound(changed(composed("method=ce_drw"), epochs=1, reweighting__weigh__start=0.0)).warnings == []


def test_no_published_preset_is_too_short() -> None:
    for method in METHODS:
        assert not any("set in yet" in sentence for sentence in bound(composed(f"method={method}")).warnings), method
