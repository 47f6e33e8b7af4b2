"""Class counts of zero and extreme arguments, in every option of conf/ that counts images."""

from __future__ import annotations

import pytest

from ltrun.contracts import heads, losses, samplers
from tests.support.cases import OPTIONS, choice, of_each_task

LOSSES = [pytest.param(slot, o, id=f"{slot}={o}") for slot in losses.SLOTS for o in OPTIONS[slot] if o != "none"]
POSTHOC = [option for option in OPTIONS["posthoc"] if option != "none"]


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_a_class_without_images_is_adjusted_as_the_rarest_class_with_images(slot: str, option: str) -> None:
    for each in of_each_task(slot, option):
        losses.empty_is_rarest(each)


def test_three_adjustments_alone_depend_on_more_than_counts() -> None:
    """They draw for each logit, or depend on the direction of a class weight; the test above holds for all others."""
    found = {
        option
        for slot in losses.SLOTS
        for option in OPTIONS[slot]
        for each in of_each_task(slot, option)
        if any(losses.depends_on_more_than_counts(part, each.recipe.task) for part in each.stage.adjusts)
    }
    assert found == {"gcl", "pml", "softmax_equalization"}


@pytest.mark.parametrize("option", POSTHOC)
def test_a_predictor_does_not_lift_a_class_without_images(option: str) -> None:
    heads.empty_is_not_lifted(choice("posthoc", option))


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_extreme_arguments_of_a_loss_are_refused_or_give_finite_numbers(slot: str, option: str) -> None:
    for each in of_each_task(slot, option):
        losses.extremes_are_refused_or_finite(each)


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_extreme_arguments_of_a_sampler_are_refused_or_give_valid_rows(option: str) -> None:
    for each in of_each_task("resampling", option):
        samplers.extremes_draw_rows(each)


@pytest.mark.parametrize("option", POSTHOC)
def test_extreme_arguments_of_a_predictor_are_refused_or_give_finite_scores(option: str) -> None:
    heads.extremes_score_finite(choice("posthoc", option))
