"""Every preset resumes bit for bit after a stop at any checkpoint, and gives another run for another seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltrun.contracts.presets import follows_its_seed, resumes
from ltrun.metrics import MULTI_LABEL
from tests.support.cases import METHODS, bound, composed, presets_of, small
from tests.support.walks import drawn


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_ends_bit_equal_when_stopped_after_every_checkpoint(method: str, tmp_path: Path) -> None:
    resumes(bound(small(composed(f"method={method}"))), tmp_path)


@pytest.mark.parametrize("method", [preset for preset in presets_of(MULTI_LABEL, 8) if " " in preset])
def test_presets_for_both_tasks_end_bit_equal_on_scenes_too(method: str, tmp_path: Path) -> None:
    resumes(bound(small(composed(*f"method={method}".split()))), tmp_path)


@pytest.mark.parametrize("method", drawn(METHODS, 16))
def test_two_seeds_give_two_different_runs(method: str, tmp_path: Path) -> None:
    """The test above shows that one seed gives one run."""
    follows_its_seed(bound(small(composed(f"method={method}"), epochs=1)), tmp_path)
