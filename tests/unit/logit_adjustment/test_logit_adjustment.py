"""Logit adjustment and vector scaling: the exact shift tau * log(prior), for any tau and thousands of classes."""

from __future__ import annotations

import math

import pytest
import torch

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import VS, LogitAdjustment
from ltrun.logit_adjustment.logit_adjustment import log_prior
from ltrun.posthoc import LogitAdjustment as PostHocLogitAdjustment
from ltrun.types import ClassStats, Outputs

MANY = ClassStats(torch.tensor([1000] * 8000 + [2] * 142))  # as many classes as iNaturalist


@pytest.mark.parametrize(("tau", "exact"), [(1.0, 6.2146), (2.0, 12.4292), (3.0, 18.6438)])
def test_the_gap_between_head_and_tail_is_exact_at_every_tau(tau: float, exact: float) -> None:
    """With an epsilon inside the logarithm the gap was 9.596 at tau = 2 and 1.08 at 3: rare classes were hardly adjusted."""
    assert exact == pytest.approx(tau * math.log(500), abs=1e-3)
    labels = torch.zeros(1, dtype=torch.long)
    for part in (LogitAdjustment(tau, stats=MANY), VS(0.0, tau, stats=MANY)):
        offsets = part(torch.zeros(1, 8142), labels, Outputs())[0]
        assert (offsets[0] - offsets[-1]).item() == pytest.approx(exact, abs=1e-3)
    shifted = PostHocLogitAdjustment(tau, stats=MANY)(Outputs(logits=torch.zeros(1, 8142)))[0]
    assert (shifted[-1] - shifted[0]).item() == pytest.approx(exact, abs=1e-3)


def test_logit_adjustment_equals_vector_scaling_without_temperatures_also_for_empty_classes() -> None:
    stats, labels = ClassStats(torch.tensor([500, 60, 9, 4, 0])), torch.zeros(1, dtype=torch.long)
    one, other = (part(torch.zeros(1, 5), labels, Outputs()) for part in (LogitAdjustment(stats=stats), VS(0.0, stats=stats)))
    torch.testing.assert_close(one, other)
    assert one[0, 4] == one[0, 3]


@pytest.mark.parametrize("tau", [0.25, 0.5, 1.0])
def test_the_published_epsilon_vanishes_in_float32_on_the_usual_data_sets(tau: float) -> None:
    for counts in ([500, 299, 179, 107, 64, 38, 23, 13, 8, 5], [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]):
        exact, google = (log_prior(torch.tensor(counts), tau, eps) for eps in (0.0, 1e-12))
        assert torch.equal(exact.float(), google.float())


def test_a_tau_that_overflows_float32_is_refused() -> None:
    with pytest.raises(ConfigError, match="tau must be smaller here"):
        LogitAdjustment(1e38, stats=MANY)
