"""What every part of an option keeps to: state that goes through a checkpoint, time in buffers, copies that are apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltrun.contracts.training import keeps_state_in_buffers, quick
from tests.support.cases import STAGE_OPTIONS, bound, choice


@pytest.mark.parametrize(("slot", "option"), [(slot, option) for slot in STAGE_OPTIONS for option in STAGE_OPTIONS[slot]])
def test_every_part_of_an_option_keeps_to_the_rules(slot: str, option: str, tmp_path: Path) -> None:
    keeps_state_in_buffers(bound(quick(choice(slot, option), 10)), tmp_path)
