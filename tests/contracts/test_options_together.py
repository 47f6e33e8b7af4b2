"""Options that may be combined train and predict: every option in a full combination and, with CASES=all, every pair."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from ltrun.contracts.training import trains_and_predicts
from ltrun.engine.rehearsal import rehearse
from ltrun.errors import ConfigError
from tests.support.cases import OPTIONS, assembled, bound, small, trainer
from tests.support.walks import ALL, Picked, covering, shares, spread

LEVELS = {slot: OPTIONS[slot] for slot in ("augmentation", "resampling", "reweighting", "posthoc", "ensemble", "margin")}
LEVELS |= {slot: OPTIONS[slot] for slot in ("logit_adjustment", "classifier", "decoupling", "regularization", "representation")}
LEVELS["augmentation"] = [option for option in LEVELS["augmentation"] if option != "frame_stack"]  # of videos, not images
SHARES = shares(LEVELS, 20)


def allowed(picked: Picked) -> bool:
    try:
        bound(assembled(picked))
    except ConfigError:
        return False
    return True


@cache
def pairs() -> list[Picked]:
    """Returns few combinations that contain every pair of compatible options."""
    return covering(LEVELS, allowed)


def combinations(share: int) -> list[Picked]:
    return pairs()[share :: len(SHARES)] if ALL else spread(LEVELS, SHARES[share], allowed)


@pytest.mark.parametrize("share", range(len(SHARES)))
def test_options_that_bind_together_train_and_predict(share: int, tmp_path: Path, subtests: pytest.Subtests) -> None:
    chosen = combinations(share)
    assert ALL or set(SHARES[share]) <= {pair for picked in chosen for pair in picked.items()}
    for number, picked in enumerate(chosen):
        with subtests.test(msg=" ".join(f"{slot}={option}" for slot, option in picked.items() if option != "none")):
            recipe = bound(small(assembled(picked), epochs=1))
            try:
                trains_and_predicts(recipe, tmp_path / str(number))
            except ConfigError as refusal:  # by the parts themselves, which are not built to bind
                with pytest.raises(ConfigError, match=re.escape(str(refusal))):
                    rehearse(trainer(recipe, tmp_path / "rehearsed"))
                assert refusal.args[0].startswith(("stages.", *(f"{slot}." for slot in LEVELS))), "it names no key"
