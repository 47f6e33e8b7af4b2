"""The loss of an option of class re-balancing by name, without a network."""

from __future__ import annotations

from ltrun.contracts.stand_ins import Loss
from ltrun.contracts.stand_ins import loss_of as loss_of_stage
from ltrun.types import ClassStats
from tests.support.cases import choice


def loss_of(slot: str, option: str, stats: ClassStats) -> Loss:
    return loss_of_stage(choice(slot, option).stage, stats)
