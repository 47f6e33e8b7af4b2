"""Class counts of zero and arguments at the edges, in every option that counts images: walks conf/."""

from __future__ import annotations

import pytest

from ltrun.contracts import heads, losses, samplers
from tests.support.cases import OPTIONS, choice

LOSSES = [pytest.param(slot, o, id=f"{slot}={o}") for slot in losses.SLOTS for o in OPTIONS[slot] if o != "none"]
POSTHOC = [option for option in OPTIONS["posthoc"] if option != "none"]


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_a_class_without_images_is_adjusted_as_the_rarest_that_has_some(slot: str, option: str) -> None:
    losses.empty_is_rarest(choice(slot, option))


def test_few_adjustments_depend_on_more_than_counts() -> None:
    """Each logit by its own draw, or by the direction of its class weight; all others are held to the test above."""
    found = {
        option
        for slot in losses.SLOTS
        for option in OPTIONS[slot]
        if any(losses.depends_on_more_than_counts(part) for part in choice(slot, option).stage.adjusts)
    }
    assert found == {"gcl", "pml", "softmax_equalization"}


@pytest.mark.parametrize("option", POSTHOC)
def test_a_predictor_lifts_a_class_without_images_no_more_than_the_rarest_that_has_some(option: str) -> None:
    heads.empty_is_not_lifted(choice("posthoc", option))


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_extreme_numbers_of_a_loss_are_refused_or_finite(slot: str, option: str) -> None:
    losses.extremes_are_refused_or_finite(choice(slot, option))


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_extreme_numbers_of_a_sampler_are_refused_or_draw_rows_of_the_set(option: str) -> None:
    samplers.extremes_draw_rows(choice("resampling", option))


@pytest.mark.parametrize("option", POSTHOC)
def test_extreme_numbers_of_a_predictor_are_refused_or_finite(option: str) -> None:
    heads.extremes_score_finite(choice("posthoc", option))
