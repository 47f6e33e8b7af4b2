"""Contracts of class re-balancing, for every option of conf/: a new option is tested without a change here.

Single and half precision, a class absent from the batch, a batch of one, a class with one image and one with none, 8,142
classes at as many tensor operations as three.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ltrun.contracts import losses
from ltrun.contracts.stand_ins import DTYPES, FIRST, LAST, STATS, blind_view, loss_of
from tests.support.cases import OPTIONS, of_each_task


def cases(*slots: str) -> list[Any]:
    found = [(slot, option) for slot in slots for option in OPTIONS[slot] if option != "none"]
    return [pytest.param(slot, option, id=f"{slot}={option}") for slot, option in found]


LOSSES = cases(*losses.SLOTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_loss_gradient_and_state_stay_finite(slot: str, option: str, dtype: torch.dtype) -> None:
    for each in of_each_task(slot, option):
        losses.stays_finite(each, dtype)


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_half_precision_is_near_single(slot: str, option: str) -> None:
    for each in of_each_task(slot, option):
        losses.half_is_near_single(each)


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_thousands_of_classes_take_no_loop(slot: str, option: str) -> None:
    for each in of_each_task(slot, option):
        losses.takes_no_loop(each)


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_a_loss_of_ltrun_reads_neither_images_nor_the_network_between_epochs(slot: str, option: str) -> None:
    for clock in (FIRST, LAST):
        for each in of_each_task(slot, option):
            loss_of(each.stage, STATS, each.recipe.task).adapt(clock, blind_view)
