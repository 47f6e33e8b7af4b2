"""Post-hoc parts without a reference file, against the papers' equations evaluated in NumPy in float64."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltrun.classifier import Causal
from ltrun.classifier.causal import damped_per_head, unit_per_head
from ltrun.posthoc import UNOIC, EffectivePrior, LabelShiftEM, LikelihoodFlattening, LogitAdjustment, PCSoftmax
from ltrun.posthoc.label_shift_em import em_prior
from ltrun.posthoc.tde import tde_logits
from ltrun.posthoc.uno_ic import deviation_ratio, entropy, log_ratio
from ltrun.types import ClassStats, Outputs

COUNTS = [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]
STATS = ClassStats(torch.tensor(COUNTS))
PRIOR = np.array(COUNTS) / sum(COUNTS)
TARGET = [float(n) for n in reversed(COUNTS)]
LOGITS = 3 * np.random.default_rng(0).standard_normal((16, 10))


class Split:
    def __init__(self, logits: Any):
        self.logits = torch.as_tensor(np.asarray(logits))

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        return Outputs(logits=self.logits)

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        yield self.outputs(augment, epoch)

    @property
    def labels(self) -> Tensor:
        raise PermissionError("these parts never look at labels")


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def near(found: Tensor, expected: np.ndarray, rtol: float) -> None:
    np.testing.assert_allclose(found.detach().double().numpy(), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def logits(dtype: torch.dtype = torch.float32) -> Outputs:
    return Outputs(logits=torch.tensor(LOGITS, dtype=dtype))


@pytest.mark.parametrize("target", [None, TARGET])
def test_pc_softmax_is_bayes_rule_with_another_prior(target: list[float] | None) -> None:
    """Hong et al.: p_t(y|x) is p_s(y|x) p_t(y) / p_s(y), normalised, and its logits are z - log p_s(y) + log p_t(y)."""
    after = np.ones(10) / 10 if target is None else np.array(target) / sum(target)
    posterior = softmax(LOGITS) * after / PRIOR
    scores = PCSoftmax(target, stats=STATS)(logits())
    near(scores.softmax(1), posterior / posterior.sum(1, keepdims=True), 2e-5)
    near(scores, LOGITS - np.log(PRIOR + 1e-9) + np.log(after + 1e-9), 2e-5)
    if target is None:
        adjusted = LogitAdjustment(1.0, stats=STATS)(logits())
        torch.testing.assert_close((scores - adjusted).std(), torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 1.3])
@pytest.mark.parametrize("target", [None, TARGET])
def test_uno_ic_lies_between_two_posteriors(strength: float, target: list[float] | None) -> None:
    """Tian et al.: p_r ~ p * p_t(y) / p_s(y), normalised; the outcome ~ p ** (1 - strength) * p_r ** strength, normalised."""
    after = np.ones(10) / 10 if target is None else np.array(target) / sum(target)
    p = softmax(LOGITS)
    rebalanced = p * after / PRIOR
    rebalanced /= rebalanced.sum(1, keepdims=True)
    between = p ** (1 - strength) * rebalanced**strength
    between /= between.sum(1, keepdims=True)
    ratio = log_ratio(torch.tensor(COUNTS), torch.ones(10) if target is None else torch.tensor(target).double())
    near((torch.tensor(LOGITS) + strength * ratio).log_softmax(1), np.log(between), 1e-9)
    scores = UNOIC(strength, target, stats=STATS)(logits())
    near(scores, np.log(between), 2e-5)
    if target is None:
        near(LogitAdjustment(strength, stats=STATS)(logits()).softmax(1), between, 2e-5)


def test_likelihood_flattening() -> None:
    """Tian et al.'s deviation ratio: mean / (max(0, entropy - mean - std) + mean); mean, std over validation entropies."""
    rng = np.random.default_rng(1)
    validation = 6 * rng.standard_normal((50, 10))

    def h(z: np.ndarray) -> np.ndarray:
        return np.array([-sum(p * np.log(p) for p in row) for row in softmax(z)])

    mean, std = h(validation).mean(), h(validation).std()
    ratio = mean / (np.maximum(0, h(LOGITS) - mean - std) + mean)
    assert ratio.max() == 1 and ratio.min() < 0.9  # some images are as certain as the validation images, some are not
    near(entropy(torch.tensor(LOGITS)), h(LOGITS), 1e-9)
    near(deviation_ratio(torch.tensor(h(LOGITS)), torch.tensor(mean), torch.tensor(std)), ratio, 1e-9)
    part = LikelihoodFlattening(UNOIC(0.8, stats=STATS))
    part.fit({"val": Split(validation.astype(np.float32))})
    p = softmax(LOGITS * ratio[:, None]) / PRIOR**0.8
    near(part(logits()), np.log(p / p.sum(1, keepdims=True)), 2e-5)


def test_effective_prior() -> None:
    rng = np.random.default_rng(1)
    train = 2 * rng.standard_normal((200, 10)) + np.log(PRIOR)
    expected = LOGITS - 0.7 * np.log(softmax(train).mean(0))
    part = EffectivePrior(0.7, stats=STATS)
    part.fit({"train": Split(train)})
    near(part(logits()), expected, 2e-5)


def expectation_maximisation(posteriors: np.ndarray, source: np.ndarray, steps: int) -> np.ndarray:
    """Saerens et al.: E by equation 2.4 with the current prior, M by the mean; image by image."""
    prior = source.copy()
    for _ in range(steps):
        corrected = np.zeros_like(posteriors)
        for k, row in enumerate(posteriors):
            weighted = prior / source * row
            corrected[k] = weighted / weighted.sum()
        prior = corrected.mean(0)
    return prior


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_em_prior(steps: int) -> None:
    posteriors = softmax(LOGITS)
    found = em_prior(torch.tensor(posteriors), torch.tensor(PRIOR), steps, tolerance=0.0)
    near(found, expectation_maximisation(posteriors, PRIOR, steps), 1e-9)
    assert float(found.sum()) == pytest.approx(1)


def test_label_shift_em() -> None:
    rng = np.random.default_rng(1)
    train, test = (2 * rng.standard_normal((n, 10)) + np.log(PRIOR) for n in (300, 200))
    source = softmax(train).mean(0)
    target = expectation_maximisation(softmax(test), source, 10)
    part = LabelShiftEM(10, 0.0, stats=STATS)
    part.fit({"train": Split(train), "test_inputs": Split(test)})
    near(part(logits()).log_softmax(1), np.log(softmax(LOGITS + np.log(target / source))), 2e-5)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 1.5])
def test_de_confounded_logits_and_their_total_direct_effect(num_heads: int, alpha: float) -> None:
    """Tang et al.: tau / K sum_k w_k / (|w_k| + gamma) . (x_k / |x_k| - alpha cos(x_k, m_k) m_k / |m_k|)."""
    rng = np.random.default_rng(1)
    tau, gamma = 16.0, 1 / 32
    x, w, m = rng.standard_normal((6, 8)), 0.2 * rng.standard_normal((10, 8)), rng.standard_normal(8) + 1
    expected = np.zeros((6, 10))
    for i in range(6):
        for c in range(10):
            for pieces in np.array_split(np.arange(8), num_heads):
                xk, wk, mk = x[i, pieces], w[c, pieces], m[pieces]
                length = np.sqrt((wk**2).sum()) + gamma
                cosine = (xk @ mk) / np.sqrt((xk**2).sum()) / np.sqrt((mk**2).sum())
                direct = wk @ xk / (length * np.sqrt((xk**2).sum()))
                expected[i, c] += tau / num_heads * (direct - alpha * cosine * (wk @ mk) / (length * np.sqrt((mk**2).sum())))

    features, classes = torch.tensor(x), damped_per_head(torch.tensor(w), num_heads, gamma)
    near(tde_logits(features, classes, tau / num_heads, torch.tensor(m), alpha, num_heads), expected, 1e-9)
    if alpha == 0:
        head = Causal(num_heads, tau, gamma, features=8, num_classes=10)
        with torch.no_grad():
            head.weight.copy_(torch.tensor(w))
        near(head(features.float()), expected, 2e-5)
        near(head.scale * unit_per_head(features.float(), num_heads) @ head.classes.T, expected, 2e-5)


def test_gradient_of_the_causal_head() -> None:
    rng = np.random.default_rng(1)
    head = Causal(2, features=8, num_classes=10).double()
    features = torch.tensor(rng.standard_normal((6, 8)), requires_grad=True)
    assert torch.autograd.gradcheck(head, (features,))
    assert torch.autograd.gradcheck(
        lambda w: unit_per_head(features.detach(), 2) @ damped_per_head(w, 2, 1 / 32).T, (head.weight,)
    )
