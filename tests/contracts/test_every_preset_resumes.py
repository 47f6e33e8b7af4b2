"""Every preset ends bit-equal when it is stopped after every checkpoint; another seed is another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltrun.contracts.presets import follows_its_seed, resumes
from tests.support.cases import METHODS, bound, composed, small


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_ends_bit_equal_when_stopped_after_every_checkpoint(method: str, tmp_path: Path) -> None:
    resumes(bound(small(composed(f"method={method}"))), tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_is_another_run(method: str, tmp_path: Path) -> None:
    """The same seed is bit-equal, as the test above has it."""
    follows_its_seed(bound(small(composed(f"method={method}"), epochs=1)), tmp_path)
