"""Every pair of options that may be combined trains and predicts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from ltrun.contracts.training import trains_and_predicts
from ltrun.errors import ConfigError
from tests.support.cases import OPTIONS, assembled, bound, covering, small

SHARES = 20
LEVELS = {slot: OPTIONS[slot] for slot in ("augmentation", "resampling", "reweighting", "posthoc", "ensemble")}
LEVELS |= {slot: OPTIONS[slot] for slot in ("logit_adjustment", "classifier", "decoupling", "margin", "representation")}


def allowed(picked: dict[str, str]) -> bool:
    try:
        bound(assembled(picked))
    except ConfigError:
        return False
    return True


@cache
def pairs() -> list[dict[str, str]]:
    """Returns few combinations that contain every pair of compatible options."""
    return covering(LEVELS, allowed)


@pytest.mark.parametrize("share", range(SHARES))
def test_every_pair_of_options_that_binds_trains_and_predicts(share: int, tmp_path: Path, subtests: pytest.Subtests) -> None:
    assert len(pairs()) > SHARES
    for number, picked in enumerate(pairs()[share::SHARES]):
        with subtests.test(msg=" ".join(f"{slot}={option}" for slot, option in picked.items() if option != "none")):
            trains_and_predicts(bound(small(assembled(picked), epochs=1)), tmp_path / str(number))
