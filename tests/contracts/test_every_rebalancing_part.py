"""Contracts of class re-balancing, for every option of conf/: a new option is tested without a change here.

Single and half precision, a class absent from the batch, a batch of one, a class with one image and one with none, 8,142
classes at as many tensor operations as three.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ltrun.contracts import losses
from ltrun.contracts.stand_ins import DTYPES, FIRST, LAST, STATS, blind_view
from tests.support.cases import OPTIONS, choice
from tests.support.rebalancing import loss_of


def cases(*slots: str) -> list[Any]:
    found = [(slot, option) for slot in slots for option in OPTIONS[slot] if option != "none"]
    return [pytest.param(slot, option, id=f"{slot}={option}") for slot, option in found]


LOSSES = cases(*losses.SLOTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_loss_gradient_and_state_stay_finite(slot: str, option: str, dtype: torch.dtype) -> None:
    losses.stays_finite(choice(slot, option), dtype)


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_half_precision_is_near_single(slot: str, option: str) -> None:
    losses.half_is_near_single(choice(slot, option))


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_thousands_of_classes_take_no_loop(slot: str, option: str) -> None:
    losses.takes_no_loop(choice(slot, option))


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_a_loss_of_ltrun_reads_neither_images_nor_the_network_between_epochs(slot: str, option: str) -> None:
    for clock in (FIRST, LAST):
        loss_of(slot, option, STATS).adapt(clock, blind_view)
