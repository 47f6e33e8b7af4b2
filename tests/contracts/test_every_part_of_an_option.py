"""Every option keeps its state in buffers: checkpoints restore it, and copies of its parts share no tensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltrun.contracts.training import keeps_state_in_buffers, quick
from tests.support.cases import STAGE_OPTIONS, bound, choice


@pytest.mark.parametrize(("slot", "option"), [(slot, option) for slot in STAGE_OPTIONS for option in STAGE_OPTIONS[slot]])
def test_every_option_keeps_its_state_in_buffers(slot: str, option: str, tmp_path: Path) -> None:
    keeps_state_in_buffers(bound(quick(choice(slot, option), 10)), tmp_path)
