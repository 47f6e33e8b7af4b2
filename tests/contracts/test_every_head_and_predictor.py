"""Heads and post-hoc parts of every option stay finite in half precision and take no loop over classes."""

from __future__ import annotations

import pytest
import torch

from ltrun.contracts import heads
from ltrun.contracts.stand_ins import DTYPES
from tests.support.cases import OPTIONS, choice

POSTHOC = [option for option in OPTIONS["posthoc"] if option != "none"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", OPTIONS["classifier"])
def test_heads_stay_finite(option: str, dtype: torch.dtype) -> None:
    heads.head_stays_finite(choice("classifier", option), dtype)


@pytest.mark.parametrize("option", OPTIONS["classifier"])
def test_heads_take_no_loop_over_classes(option: str) -> None:
    heads.head_takes_no_loop(choice("classifier", option))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", POSTHOC)
def test_scores_stay_finite(option: str, dtype: torch.dtype) -> None:
    heads.scores_stay_finite(choice("posthoc", option), dtype)


@pytest.mark.parametrize("option", POSTHOC)
def test_scores_take_no_loop_over_classes(option: str) -> None:
    heads.scores_take_no_loop(choice("posthoc", option))


def test_one_predictor_alone_iterates_until_convergence() -> None:
    """The number of operations of all others must not depend on the images."""
    assert [option for option in POSTHOC if heads.ends_by_itself(choice("posthoc", option))] == ["label_shift_em"]
