"""Every pair of options that may be combined trains and predicts."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from ltrun.data import Splits
from ltrun.engine.predictors import Predictors
from ltrun.engine.stage import Row, augments_of
from ltrun.errors import ConfigError
from tests.support.cases import OPTIONS, assembled, bound, covering, digits, small, trainer

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
    """Few combinations that hold every pair of options that may be combined."""
    return covering(LEVELS, allowed)


@pytest.mark.parametrize("share", range(SHARES))
def test_every_pair_of_options_that_binds_trains_and_predicts(share: int, tmp_path: Path, subtests: pytest.Subtests) -> None:
    assert len(pairs()) > SHARES
    for number, picked in enumerate(pairs()[share::SHARES]):
        with subtests.test(msg=" ".join(f"{slot}={option}" for slot, option in picked.items() if option != "none")):
            train_and_predict(picked, tmp_path / str(number))


def train_and_predict(picked: dict[str, str], tmp_path: Path) -> None:
    recipe = bound(small(assembled(picked), epochs=1))
    rows: list[Row] = []
    made = trainer(recipe, tmp_path, report=rows.append)
    network = made.run()
    assert len(rows) == len(recipe.stages) and all(math.isfinite(row["loss"]) for row in rows)
    train, test = digits()
    run = replace(made.context, splits=Splits(train, test, test, made.context.splits.names))
    posthoc = {name: part.build(run.injected()) for name, part in recipe.posthoc.items()}
    predictors = Predictors(network, run, posthoc, augments_of(recipe.stages[0], "main", run.injected()))
    predictors.fit()
    found, scores = predictors.measure()
    assert found.keys() == scores.keys() == {"plain", *posthoc}
    for name, predictor in found.items():
        assert scores[name].shape == (len(test), 10) and scores[name].isfinite().all()
        assert 0 <= predictor["splits"]["test"]["accuracy"] <= 1
