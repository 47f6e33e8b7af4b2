"""Self-training against independent float64 evaluations of the papers' equations: FixMatch, DARP, ABC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ltrun.transfer import ABC, ABCConsistency, FixMatch
from ltrun.transfer.darp import refined, without_noise
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view

STATS = ClassStats(torch.tensor([50, 20, 8, 4]))
ROWS = 12


def logits(seed: int, scale: float = 6.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(ROWS, 4, generator=generator, dtype=torch.float64)).requires_grad_()


def streams(labels: Tensor) -> dict[str, Batch]:
    batch = Batch(
        torch.empty(len(labels), 0), Labels(labels[:, None], torch.ones(ROWS, 1, dtype=torch.float64)), torch.arange(ROWS)
    )
    return dict.fromkeys(("main", "weak", "strong", "again"), batch)


def log_softmax(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return row - np.log(np.exp(row).sum())


def test_fixmatch_is_equation_4() -> None:
    """1 / (mu B) * sum_b 1(max q_b >= tau) H(argmax q_b, p(strong view))."""
    weak, strong = logits(0), logits(1)
    given = {"weak": Outputs(logits=weak), "strong": Outputs(logits=strong)}
    value = FixMatch(0.8)(given, streams(torch.zeros(ROWS, dtype=torch.long)))
    expected, slopes = 0.0, np.zeros((ROWS, 4))
    for b in range(ROWS):
        q, log_p = np.exp(log_softmax(weak.detach().numpy()[b])), log_softmax(strong.detach().numpy()[b])
        if q.max() >= 0.8:
            expected -= log_p[q.argmax()] / ROWS
            slopes[b] = (np.exp(log_p) - np.eye(4)[q.argmax()]) / ROWS
    assert 0 < slopes.any(axis=1).sum() < ROWS
    assert value.item() == pytest.approx(expected, rel=1e-12)
    of_weak, of_strong = torch.autograd.grad(value, [weak, strong], allow_unused=True)
    assert of_weak is None, "the weak view gets no gradient"
    np.testing.assert_allclose(of_strong.numpy(), slopes, rtol=1e-9, atol=1e-15)


# ------------------------------------------------------------------------------------------------------------------ DARP


def pool(seed: int, rows: int = 9, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)).softmax(dim=1)
    wanted = torch.rand(classes, generator=generator, dtype=torch.float64) + 0.3
    return probabilities, wanted / wanted.sum() * rows


@pytest.mark.parametrize("seed", range(4))
def test_darp_is_the_minimum_of_equation_3(seed: int) -> None:
    """min sum_i KL(x_i || p_i) / H(p_i), rows sum to 1, columns to the wanted numbers: against a general convex solver."""
    probabilities, wanted = pool(seed)
    p, shape = probabilities.numpy(), probabilities.shape
    weights = -1 / (p * np.log(p)).sum(axis=1)

    def objective(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x = x.reshape(shape)
        ratio = np.log(x / p)
        return float((weights * (x * ratio).sum(axis=1)).sum()), (weights[:, None] * (ratio + 1)).ravel()

    constraints: list[dict[str, Any]] = [
        {"type": "eq", "fun": lambda x: x.reshape(shape).sum(axis=1) - 1},
        {"type": "eq", "fun": lambda x: x.reshape(shape).sum(axis=0)[:-1] - wanted.numpy()[:-1]},
    ]
    settings = {"maxiter": 1000, "ftol": 1e-15}
    bounds = [(1e-12, 1)] * p.size
    solved = minimize(objective, p.ravel(), jac=True, method="SLSQP", bounds=bounds, constraints=constraints, options=settings)
    found = refined(probabilities, wanted, rounds=2000)
    assert objective(found.numpy().ravel())[0] == pytest.approx(solved.fun, rel=1e-7)
    np.testing.assert_allclose(found.numpy(), solved.x.reshape(shape), atol=1e-5)
    torch.testing.assert_close(found.sum(dim=0), wanted, rtol=1e-7, atol=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found), dtype=torch.float64))


def test_ten_rounds_as_the_authors_do_come_close() -> None:
    probabilities, wanted = pool(5, rows=200, classes=10)
    found = refined(probabilities, wanted, rounds=10)
    assert (found.sum(dim=0) / wanted - 1).abs().max() < 0.02 < (probabilities.sum(dim=0) / wanted - 1).abs().max()


def test_noisy_entries_are_removed_class_by_class() -> None:
    probabilities, wanted = pool(6, rows=20, classes=4)
    expected = np.zeros((20, 4))
    for c in range(4):
        best = np.argsort(-probabilities[:, c].numpy())[: int(2.0 * float(wanted[c]))]
        kept = probabilities[best, c].numpy()
        expected[best, c] = kept * (float(wanted[c]) + 1e-6) / (kept.sum() + 1e-6)
    expected += 1e-6
    np.testing.assert_allclose(without_noise(probabilities, wanted, 2.0), expected / expected.sum(1, keepdims=True), rtol=1e-12)


# ------------------------------------------------------------------------------------------------------------------- ABC


def outputs(auxiliary: Tensor) -> Outputs:
    return Outputs(logits=torch.zeros_like(auxiliary), experts=torch.stack([torch.zeros_like(auxiliary), auxiliary]))


def test_abc_is_equation_2_with_masks_drawn_by_class() -> None:
    """1 / B * sum_b M(x_b) H(p(y | x_b), y_b), M a Bernoulli number of mean n_min / n_y: here its mean over many draws."""
    auxiliary, labels = logits(3, scale=2.0), torch.arange(ROWS) % 4
    term = ABC(stats=STATS)
    torch.manual_seed(0)
    drawn = torch.stack([term({"main": outputs(auxiliary)}, streams(labels)) for _ in range(4000)])
    losses = [-log_softmax(row)[y] for row, y in zip(auxiliary.detach().numpy(), labels.tolist(), strict=True)]
    rates = [4 / int(STATS.counts[y]) for y in labels.tolist()]
    expected = np.mean([loss * rate for loss, rate in zip(losses, rates, strict=True)])
    assert drawn.mean().item() == pytest.approx(float(expected), rel=0.02)
    possible = {0.0} | {loss / ROWS for loss in losses}
    single = {round(v.item(), 12) for v in drawn}
    rarest = sum(loss for loss, y in zip(losses, labels.tolist(), strict=True) if y == 3) / ROWS
    assert min(single) == pytest.approx(rarest), "images of the rarest class always count"
    assert len(single) > len(possible)


@pytest.mark.parametrize("epoch", [0, 5, 9])
def test_abc_consistency_is_equation_4_with_falling_rates(epoch: int) -> None:
    found = {name: logits(seed) for seed, name in enumerate(("weak", "strong", "again"), 10)}
    term = ABCConsistency(0.8, "labelled", stats=STATS)
    term.adapt(blind_view(Clock("train", epoch, 10), STATS))
    given = {name: outputs(tensor) for name, tensor in found.items()}
    torch.manual_seed(0)
    drawn = torch.stack([term(given, streams(torch.zeros(ROWS, dtype=torch.long))) for _ in range(4000)])
    expected = 0.0
    weak, *strong = (tensor.detach().numpy() for tensor in found.values())
    for b in range(ROWS):
        q = np.exp(log_softmax(weak[b]))
        if q.max() >= 0.8:
            rate = 1 - epoch / 10 * (1 - 4 / int(STATS.counts[q.argmax()]))
            expected += rate * sum(-(q * log_softmax(view[b])).sum() for view in strong) / ROWS
    assert drawn.mean().item() == pytest.approx(expected, rel=1e-6 if epoch == 0 else 0.03)
    gradients = torch.autograd.grad(drawn[0], list(found.values()), allow_unused=True)
    assert gradients[0] is None and all(gradient is not None for gradient in gradients[1:])
