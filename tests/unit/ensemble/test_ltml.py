"""LTML: its loss and gradient against the equations in float64, its presets on data with one label and with several."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ltrun.ensemble import LTML, LabelShareWeights
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.types import Batch, ClassStats, MultiHot, Outputs
from tests.support.cases import bound, composed

B, K = 6, 4
STATS = ClassStats(torch.tensor([30, 12, 4, 1]), rows=40)


def batch(hot: Tensor) -> Batch:
    return Batch(torch.zeros(len(hot), 1), MultiHot(hot.double()), torch.arange(len(hot)))


def by_the_equations(
    logits: dict[str, np.ndarray], hot: dict[str, np.ndarray], scales: np.ndarray, shifts: np.ndarray, weight: float
) -> float:
    """Equations 1 and 2 of the paper, a loop over images and classes. logits: stream -> (2, B, K)."""
    share = STATS.counts.numpy() / 40
    total = 0.0
    for branch, name in enumerate(("main", "rebalanced")):
        z, other, y = logits[name][branch], logits[name][1 - branch], hot[name]
        for i in range(B):
            for k in range(K):
                positive = 1 / (1 + np.exp(-(z[i, k] * scales[0, k] + shifts[0, k])))
                negative = 1 / (1 + np.exp(-(z[i, k] * scales[1, k] + shifts[1, k])))
                omega = np.exp(1 - share[k]) if y[i, k] else np.exp(share[k])
                total -= omega * (np.log(positive) if y[i, k] else np.log(1 - negative)) / (B * K)
                total += weight * (z[i, k] - other[i, k]) ** 2 / (B * K)
    return float(total)


def test_loss_and_gradient_are_those_of_the_equations() -> None:
    torch.manual_seed(0)
    term = LTML(0.3, classify=Classification(weighs=[LabelShareWeights(stats=STATS)]), stats=STATS).double()
    term.classify.weighs[0].share.copy_(STATS.counts.double() / 40)  # type: ignore[operator]
    with torch.no_grad():
        term.scales.add_(0.3 * torch.randn(2, K, dtype=torch.float64))
        term.shifts.add_(0.5 * torch.randn(2, K, dtype=torch.float64))
    logits = {name: torch.randn(2, B, K, dtype=torch.float64, requires_grad=True) for name in term.streams}
    hot = {name: (torch.rand(B, K) < 0.4).double() for name in term.streams}
    hot["main"][0] = 0  # an image without labels

    def value() -> Tensor:
        outputs = {name: Outputs(logits=each.mean(0), experts=each) for name, each in logits.items()}
        return term(outputs, {name: batch(each) for name, each in hot.items()})

    def expected() -> float:
        arrays = {name: each.detach().numpy() for name, each in logits.items()}
        scales, shifts = term.scales.detach().numpy(), term.shifts.detach().numpy()
        return by_the_equations(arrays, {name: each.numpy() for name, each in hot.items()}, scales, shifts, 0.3)

    assert value().item() == pytest.approx(expected(), rel=1e-9)
    value().backward()
    for tensor in (*logits.values(), term.scales, term.shifts):
        assert tensor.grad is not None
        flat, slope = tensor.data.view(-1), tensor.grad.view(-1)
        for place in range(0, len(flat), 3):
            kept, step = flat[place].item(), 1e-6
            ends = []
            for sign in (1, -1):
                flat[place] = kept + sign * step
                ends.append(expected())
            flat[place] = kept
            assert slope[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


def test_branches_that_agree_and_no_compensation_leave_two_cross_entropies() -> None:
    term = LTML(classify=Classification(), stats=STATS)
    z, hot = torch.randn(B, K, dtype=torch.float64), torch.eye(K).repeat(2, 1)[:B]
    same = Outputs(logits=z, experts=torch.stack([z, z]))
    plain = Classification().loss(z, MultiHot(hot.double()), same)
    found = term(dict.fromkeys(term.streams, same), dict.fromkeys(term.streams, batch(hot)))
    torch.testing.assert_close(found, 2 * plain)
    with pytest.raises(ConfigError, match="consistency must not be negative"):
        LTML(-1.0, classify=Classification(), stats=STATS)


def test_the_preset_needs_several_labels() -> None:
    with pytest.raises(ConfigError, match=r"ensemble=ltml needs several labels per image.*dataset=digits_lt has one label"):
        bound(composed("method=ltml", "dataset=digits_lt"))
