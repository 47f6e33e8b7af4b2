"""Negative-tolerant regularisation: sign and edges of the shift, negatives, wrong arguments."""

import math
from collections.abc import Callable

import pytest
import torch

from ltrun.errors import ConfigError
from ltrun.logit_adjustment import NegativeTolerant, NegativeTolerantWeights
from ltrun.loss import Classification
from ltrun.types import ClassStats, MultiHot, Outputs

STATS = ClassStats(torch.tensor([100, 75, 25, 1, 0]), rows=100)  # every image has class 0, none has class 4


def test_the_shift_is_below_zero_for_a_tail_class_and_finite_at_the_edges() -> None:
    shift = NegativeTolerant(0.05, 5.0, stats=STATS).shift.tolist()
    expected = [0.01 * math.log(odds) for odds in (100, 3, 1 / 3, 1 / 99, 1 / 99)]
    assert shift == pytest.approx(expected)


def test_negatives_keep_their_gradient_at_zero_and_lose_it_below() -> None:
    """At logit 0 the gradient of a negative is 1 / 2 for any lambda; at -1 it is the probability of -lambda."""
    slopes = {}
    for scale in (1.0, 5.0):
        parts = [NegativeTolerant(0.0, scale, stats=STATS)], [NegativeTolerantWeights(scale)]
        logits = torch.tensor([[0.0, -1.0, 2.0, 0.0, 0.0]], requires_grad=True)
        loss = Classification(adjusts=parts[0], weighs=parts[1])
        hot = torch.tensor([[0.0, 0, 1, 0, 0]])
        (slope,) = torch.autograd.grad(5 * loss.loss(logits, MultiHot(hot), Outputs(logits=logits)), logits)
        slopes[scale] = slope[0].tolist()
    assert slopes[5.0][0] == pytest.approx(0.5)
    assert slopes[5.0][1] == pytest.approx(1 / (1 + math.exp(5)), rel=1e-5)
    assert slopes[5.0][2] == pytest.approx(slopes[1.0][2])  # of a positive nothing changes


def test_mixed_labels_lie_between() -> None:
    hot, logits = torch.tensor([[0.25] * 5]), torch.ones(1, 5)
    adjusted = NegativeTolerant(0.0, 5.0, stats=STATS)(logits, hot, Outputs(logits=logits))
    torch.testing.assert_close(adjusted, torch.full((1, 5), 0.25 + 0.75 * 5))
    weights = NegativeTolerantWeights(5.0)(logits, hot, Outputs(logits=logits))
    torch.testing.assert_close(weights, torch.full((1, 5), 0.25 + 0.75 / 5))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: NegativeTolerant(kappa=-0.1, stats=STATS), "kappa must not be negative"),
        (lambda: NegativeTolerant(negative_scale=0.0, stats=STATS), "negative_scale must be above 0"),
        (lambda: NegativeTolerantWeights(-1.0), "negative_scale must be above 0"),
        (lambda: NegativeTolerant(kappa=1e38, negative_scale=1e-6, stats=STATS), "kappa must be smaller here"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build()
