"""Ensembles without a reference file, TLC, ACE and SimCal's dual head: the rules evaluated in NumPy in float64."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import digamma, gammaln

from ltrun.classifier import DualHead, Linear
from ltrun.classifier.simcal import dual
from ltrun.ensemble import TLC
from ltrun.ensemble.ace import ace
from ltrun.ensemble.tlc import misleading_evidence
from ltrun.loss import Classification
from ltrun.margin import LDAM
from ltrun.network.complementary import group_average, nested_classes
from ltrun.network.trustworthy import combined, engagement
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view
from tests.support.golden import near, slope

COUNTS = [500, 299, 179, 107, 64, 38, 23, 13, 8, 5]
STATS = ClassStats(torch.tensor(COUNTS))
RNG = np.random.default_rng(0)
EXPERTS = 3 * RNG.standard_normal((3, 12, 10))
LABELS = np.concatenate([np.arange(10), [0, 9]])
TARGETS = Labels(torch.tensor(LABELS)[:, None], torch.ones(12, 1, dtype=torch.float64))
STREAMS = {"main": Batch(torch.empty(12, 0), TARGETS, torch.arange(12))}


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def weights_of(experts: np.ndarray) -> np.ndarray:
    """TLC's weights, as its code has them: alpha = e ** z + 1, with the conflict as a sum over pairs of classes."""
    alpha = np.exp(experts) + 1
    belief, unsure = (alpha - 1) / alpha.sum(-1, keepdims=True), 10 / alpha.sum(-1)
    found = [np.ones(experts.shape[1]), unsure[0]]
    for (before, own), u in zip(pairwise(belief), unsure[1:], strict=True):
        pairs = before[:, :, None] * own[:, None]
        found.append(found[-1] * u / (1 - (pairs.sum((1, 2)) - np.einsum("bii->b", pairs))))
    return np.stack(found[:3])


def test_the_weights_of_evidential_experts() -> None:
    near(engagement(torch.tensor(EXPERTS)), weights_of(EXPERTS))
    share = softmax(weights_of(EXPERTS).T / 0.2).T
    near(combined(torch.tensor(EXPERTS), engagement(torch.tensor(EXPERTS)), 0.2), (share[:, :, None] * EXPERTS).sum(0))
    sure = torch.full((2, 1, 10), -30.0)
    sure[:, :, 0] = 30.0  # two certain experts agree
    assert engagement(sure)[1].item() < 1e-10 and engagement(1e3 * sure).isfinite().all()


def evidence_of(z: np.ndarray) -> np.ndarray:
    alpha = np.exp(z) + 1
    alpha[np.arange(len(z)), LABELS] = 1
    total = alpha.sum(1, keepdims=True)
    known = gammaln(total[:, 0]) - gammaln(10) - gammaln(alpha).sum(1)
    return known + ((alpha - 1) * (digamma(alpha) - digamma(total))).sum(1)


def test_the_evidence_for_wrong_classes() -> None:
    z = EXPERTS[0]
    near(misleading_evidence(torch.tensor(z), torch.tensor(LABELS)), evidence_of(z))
    x = torch.tensor(z, requires_grad=True)
    (gradient,) = torch.autograd.grad(misleading_evidence(x, torch.tensor(LABELS)).sum(), x)
    near(gradient, slope(lambda values: evidence_of(values).sum(), z), 1e-6)
    large = torch.full((1, 10), 1e4, requires_grad=True)
    misleading_evidence(large, torch.tensor([0])).sum().backward()
    assert large.grad is not None and large.grad.isfinite().all()


@pytest.mark.parametrize(
    ("logits", "value", "slopes"),
    [
        ([30.0, -30, 5, 2], 82.28817900984924, [0.0, -9.357622968835669e-14, -0.49887701898129133, 0]),
        ([12.0, 14, 29, 7], 68.37036351729787, [-0.49999883106683796, -0.49999879075413023, 2.999998784441428, 0]),
        ([6.9, 6.91, 6.95, 0], 12.059835549896475, [0.6421582961735518, 0.6536338185472639, 0.7007012008366406, 0]),
    ],
)
def test_the_evidence_of_certain_experts_loses_no_digits(logits: list[float], value: float, slopes: list[float]) -> None:
    """Values and slopes by mpmath with 60 digits; the last class is the label's. The definition itself is off by up to 0.1."""
    z = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    found = misleading_evidence(z, torch.tensor([3]))
    assert found.item() == pytest.approx(value, rel=1e-12)
    (slope_of_it,) = torch.autograd.grad(found.sum(), z)
    assert slope_of_it[0].tolist() == pytest.approx(slopes, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("epoch", [0, 159, 160, 199])
def test_tlc(epoch: int) -> None:
    later = epoch >= 160
    prior = 10 * np.array(COUNTS) / sum(COUNTS) * 0.05 + 0.95
    temperature = prior / prior.max() if later else np.ones(10)
    weights = weights_of(EXPERTS)
    share = softmax(weights.T / 0.2).T
    target = (share[:, :, None] * EXPERTS).sum(0)
    p = softmax(target / temperature)
    margins = 0.5 * (5 / np.array(COUNTS)) ** 0.25

    def total(experts: np.ndarray) -> float:
        loss = 0.0
        for z, weight in zip(experts, weights, strict=True):
            moved = z - 30 * margins[LABELS][:, None] * np.eye(10)[LABELS]
            rows = -np.log(softmax(moved)[np.arange(12), LABELS]) + (epoch + 1) / 13200 * evidence_of(z)
            rows -= 0.01 * temperature.mean() ** 2 * (p * np.log(p / softmax(z / temperature))).sum(1)
            engaged = weight / weight.max() > 0.54
            loss += (engaged * rows).sum() / engaged.sum()
        return float(loss)

    classify = Classification(adjusts=[LDAM(stats=STATS).double()])
    term = TLC(evidence=200 / 13200, stats=STATS, classify=classify).double()
    term.adapt(blind_view(Clock("train", epoch, 200), STATS))
    x = torch.tensor(EXPERTS, requires_grad=True)
    outputs = Outputs(logits=combined(x, engagement(x), 0.2), experts=x, scale=30.0)
    loss = term({"main": outputs}, STREAMS)
    near(loss, total(EXPERTS), 1e-6)  # the margins and the weight of the evidence are held in float32
    near(torch.autograd.grad(loss, x)[0], slope(total, EXPERTS), 1e-5)


def owners() -> np.ndarray:
    many, few = np.array(COUNTS) > 100, np.array(COUNTS) < 20
    return np.stack([np.ones(10, bool), ~many, few])


def test_ace() -> None:
    owns = owners()
    assert nested_classes(STATS).tolist() == owns.tolist()

    def total(experts: np.ndarray) -> float:
        loss = 0.0
        for z, own in zip(experts, owns, strict=True):
            rows = own[LABELS]
            given = np.exp(z[rows]) * own
            loss += float(-np.log((given / given.sum(1, keepdims=True))[np.arange(rows.sum()), LABELS[rows]]).mean())
            loss += 0.3 * float((z[rows][:, ~own] ** 2).sum(1).mean())
        return loss

    x = torch.tensor(EXPERTS, requires_grad=True)
    classify = Classification()
    loss = ace(x, TARGETS, torch.tensor(owns), lambda z, own: classify.loss(z, own, Outputs(logits=z)), 0.3)
    near(loss, total(EXPERTS))
    near(torch.autograd.grad(loss, x)[0], slope(total, EXPERTS), 1e-6)


def test_a_batch_without_images_of_an_expert_teaches_it_nothing() -> None:
    x, classify = torch.randn(3, 4, 10, requires_grad=True), Classification()
    targets = Labels.hard(torch.zeros(4, dtype=torch.int64))
    loss = ace(x, targets, torch.tensor(owners()), lambda z, own: classify.loss(z, own, Outputs(logits=z)), 1.0)
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.isfinite() and gradient[0].any() and not gradient[1:].any()


def test_scores_are_averaged_over_owners() -> None:
    scales, owns = np.array([1.0, 2.0, 0.5]), owners()
    expected = np.stack(
        [np.mean([scales[e] * EXPERTS[e, :, c] for e in range(3) if owns[e, c]], axis=0) for c in range(10)], axis=1
    )
    near(group_average(torch.tensor(EXPERTS), torch.tensor(owns), torch.tensor(scales)), expected)


def test_the_dual_head() -> None:
    old, new = EXPERTS[0], EXPERTS[1]
    rare = np.array(COUNTS) < 100
    expected = np.where(rare, softmax(new), softmax(old))
    near(dual(torch.tensor(old), torch.tensor(new), torch.tensor(rare)).exp(), expected)
    torch.manual_seed(0)
    trained, features = Linear(features=4, num_classes=10), torch.randn(5, 4)
    head = DualHead(head=trained, stats=STATS)
    torch.testing.assert_close(head(features), trained(features))  # a copy, before the stage
    torch.testing.assert_close(head.eval()(features), trained(features).log_softmax(1))
    head.calibrated.weight.data.add_(1.0)  # type: ignore[operator]
    assert head.rare.tolist() == rare.tolist()
    found = head(features)
    torch.testing.assert_close(found[:, ~head.rare], trained(features).log_softmax(1)[:, ~head.rare])
    torch.testing.assert_close(found[:, head.rare], head.calibrated(features).log_softmax(1)[:, head.rare])
