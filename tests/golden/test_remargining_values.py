"""Margins against the original authors' numbers or published equations."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.margin import GCL, LOCE, PML, RoBal, UncertaintyMargin
from ltrun.margin.gcl import cloud_sizes, gcl_logits
from ltrun.margin.loce import equilibrium_logits, mean_scores
from ltrun.margin.pml import class_statistics, ordinal_margins, progressive_margins
from ltrun.margin.robal import robal_bias, robal_logits, robal_margins
from ltrun.margin.uncertainty import angular_logits, dropout_variance, uncertainty_margins
from ltrun.reweighting import Focal
from ltrun.reweighting.focal import focal_weights
from ltrun.types import Batch, Labels, Outputs
from tests.support.golden import COUNTS, STATS, Golden, agree, close, compose, every_case, read

TOLERANCES = ((torch.float64, 1e-9), (torch.float32, 2e-5))


def test_gcl(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    data, inputs, y = read(golden, "gcl")
    recorded = torch.tensor(inputs["noise"], dtype=torch.float64)
    with every_case(data, {}) as take:

        def check(name: str, margin: float, amplitude: float, noise: Tensor, focal: bool = False) -> None:
            outputs = take(name)["outputs"]
            close(cloud_sizes(COUNTS), outputs["delta"], 2e-7)  # the authors' are float32

            def pure(x: Tensor) -> Tensor:
                logits = gcl_logits(x, y, noise.to(x.dtype), cloud_sizes(COUNTS).to(x.dtype), amplitude, margin, 30)
                losses = F.cross_entropy(logits, y, reduction="none")
                return (losses * focal_weights(logits.detach(), y, 1.0)).mean() if focal else losses.mean()

            # GCL multiplies normal noise by its standard deviation of 1/3, so that 3 * noise becomes the recorded noise.
            monkeypatch.setattr(torch, "randn_like", lambda x: 3 * noise.to(x.dtype))
            part = GCL(amplitude, margin, stats=STATS)
            agree(outputs, inputs["cosine"], pure, compose(y, [part], [Focal(1.0, detach=True)] if focal else [], scale=30.0))

        check("zero noise, m=0", 0.0, 0.5, torch.zeros_like(recorded))
        check("zero noise, m=0.1", 0.1, 0.5, torch.zeros_like(recorded))
        check("stored noise, defaults m=0.5 noise_mul=1", 0.5, 1.0, recorded)
        check("stored noise, train_cls focal gamma=1", 0.0, 0.5, recorded, focal=True)


def test_gcl_noise_is_normal_and_cut_off() -> None:
    """Li et al.: |N(0, 1/3)|, cut off at 1. With all cosines 0 the logits are minus the noise."""
    torch.manual_seed(0)
    part, labels = GCL(amplitude=1.0, scale=1.0, stats=STATS), torch.zeros(20_000, dtype=torch.long)
    noise = -part(torch.zeros(len(labels), 10), labels, Outputs(scale=1.0))
    assert not noise[:, 0].any()  # the largest class has no cloud
    assert noise.min() >= 0 and noise[:, 9].max() <= 1
    assert noise[:, 9].mean().item() == pytest.approx(math.sqrt(2 / math.pi) / 3, rel=0.02)
    assert noise[:, 9].square().mean().sqrt().item() == pytest.approx(1 / 3, rel=0.02)
    correlation = torch.corrcoef(noise[:, 1:].T).fill_diagonal_(0).abs().max().item()
    assert correlation < 0.05  # each class has its own draw


# Loss, norm of the gradient and three of its entries, [0, 0], [8, 8] and [15, 9]: MultiMarginLoss of
# wutong16/Adversarial_Long-Tail (methods/losses_inclass.py, commit ab2f3a7), run in float64 on the cosines of gcl.json, for
# (m, s, tau_b, tau_m).
ROBAL = {
    (0.1, 10, 1.5, 0.3): (6.91877723977745, 2.936130340827348, 0.3483175981152491, -0.6249999306247677, -0.6249949492150855),
    (0.1, 10, 1.2, 0.0): (
        6.0142596279648535,
        2.8056459650046817,
        0.23458628605092874,
        -0.6249997552832115,
        -0.6249890355876683,
    ),
    (0.2, 10, 0.0, 0.0): (7.052664902664084, 2.968361373563332, 0.019769471212533814, -0.6249950254468274, -0.624926436203913),
}
# The same numbers for equilibrium_loss of fcjian/LOCE (mmdet/models/losses/equilibrium_loss.py), on the logits of seesaw.json.
SCORES = [0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01]
EQUILIBRIUM = (3.958071311188614, 0.2745622197843868, 0.0001768851049175709, -0.062466318342562305, -0.06238406604029631)


def agree_with(expected: Sequence[float], inputs: Any, function: Callable[[Tensor], Tensor], dtypes: Any = TOLERANCES) -> None:
    """Compares the loss, the norm of the gradient and its entries [0, 0], [8, 8] and [15, 9]."""
    for dtype, rtol in dtypes:
        x = torch.tensor(inputs, dtype=dtype, requires_grad=True)
        value = function(x)
        gradient = torch.autograd.grad(value, x)[0]
        found = [value.item(), gradient.norm().item(), *(gradient[i, j].item() for i, j in ((0, 0), (8, 8), (15, 9)))]
        assert found == pytest.approx(expected, rel=rtol, abs=rtol * gradient.abs().max().item())


@pytest.mark.parametrize(("m", "s", "tau_b", "tau_m"), ROBAL)
def test_robal(golden: Golden, m: float, s: int, tau_b: float, tau_m: float) -> None:
    _, inputs, y = read(golden, "gcl")
    margins, bias = robal_margins(COUNTS, m, tau_m, s), robal_bias(COUNTS, tau_b)

    def pure(x: Tensor) -> Tensor:
        return F.cross_entropy(robal_logits(x, y, margins.to(x.dtype), bias.to(x.dtype), s), y)

    agree_with(ROBAL[m, s, tau_b, tau_m], inputs["cosine"], pure)
    composed = compose(y, [RoBal(m, tau_m, tau_b, s, stats=STATS)], scale=30.0)
    agree_with(ROBAL[m, s, tau_b, tau_m], inputs["cosine"], composed, TOLERANCES[1:])


def test_equilibrium_loss(golden: Golden) -> None:
    _, inputs, y = read(golden, "seesaw")
    scores = torch.tensor(SCORES, dtype=torch.float64)
    agree_with(EQUILIBRIUM, inputs["logits"], lambda x: F.cross_entropy(equilibrium_logits(x, y, scores), y))


def test_loce_scores(golden: Golden) -> None:
    """s_c <- 0.9^n s_c + (1 - 0.9^n) mean probability of the n rows of class c: LoceRoIHead._update_mean_score."""
    _, inputs, y = read(golden, "seesaw")
    part, expected = LOCE(num_classes=10), [0.01] * 10
    for logits, labels in ((inputs["logits"], y), (inputs["logits_b"], torch.tensor(inputs["labels_b"]))):
        found: dict[int, list[float]] = {}
        for row, label in zip(logits, labels.tolist(), strict=True):
            found.setdefault(label, []).append(math.exp(row[label]) / sum(math.exp(z) for z in row))
        for label, values in found.items():
            kept = 0.9 ** len(values)
            expected[label] = kept * expected[label] + (1 - kept) * sum(values) / len(values)
        x = torch.tensor(logits, requires_grad=True)
        value = compose(labels, [part])(x)
        wanted = [
            -math.log(expected[label] * math.exp(row[label]) / sum(s * math.exp(z) for s, z in zip(expected, row, strict=True)))
            for row, label in zip(logits, labels.tolist(), strict=True)
        ]
        assert value.item() == pytest.approx(sum(wanted) / len(wanted), rel=2e-5)
        batch = Batch(torch.zeros(len(labels), 1), Labels.hard(labels), torch.arange(len(labels)))
        part.after_step({"main": Outputs(logits=torch.tensor(logits))}, {"main": batch})
        close(part.scores, expected, 1e-6)


def differences(
    function: Callable[[list[list[float]]], float], values: list[list[float]], step: float = 1e-5
) -> list[list[float]]:
    """The gradient of a function of Python floats, by central differences."""
    gradient = [[0.0] * len(row) for row in values]
    for i, row in enumerate(values):
        for j in range(len(row)):
            moved = [[list(r) for r in values] for _ in range(2)]
            moved[0][i][j] -= step
            moved[1][i][j] += step
            gradient[i][j] = (function(moved[1]) - function(moved[0])) / (2 * step)
    return gradient


def softmax_loss(rows: list[list[float]], labels: list[int]) -> float:
    """The mean cross-entropy, in Python floats."""
    terms = [math.log(sum(math.exp(z) for z in row)) - row[y] for row, y in zip(rows, labels, strict=True)]
    return sum(terms) / len(terms)


def test_angular_margin(golden: Golden) -> None:
    """psi(theta) = (-1)^k cos(m theta) - 2k for theta in [k pi / m, (k + 1) pi / m]: Liu et al., 2016, arXiv 1612.02295."""
    _, inputs, y = read(golden, "gcl")
    factors = [1.0, 1.05, 1.1, 1.2, 1.4, 1.7, 2.0, 2.5, 3.0, 4.0]

    def by_hand(cosines: list[list[float]]) -> float:
        rows = []
        for row, label in zip(cosines, y.tolist(), strict=True):
            theta, m = math.acos(row[label]), factors[label]
            k = next(k for k in range(5) if theta <= (k + 1) * math.pi / m)
            psi = (-1) ** k * math.cos(m * theta) - 2 * k
            rows.append([8 * (psi if j == label else cosine) for j, cosine in enumerate(row)])
        return softmax_loss(rows, y.tolist())

    part = UncertaintyMargin(scale=8.0, num_classes=10)
    part.margins.copy_(torch.tensor(factors))
    composed = compose(y, [part], scale=30.0)

    def pure(x: Tensor) -> Tensor:
        return F.cross_entropy(angular_logits(x, y, torch.tensor(factors, dtype=x.dtype), 8.0), y)

    value, gradient = by_hand(inputs["cosine"]), differences(by_hand, inputs["cosine"])
    for function, dtype, rtol in ((pure, torch.float64, 1e-9), (pure, torch.float32, 2e-5), (composed, torch.float32, 2e-5)):
        x = torch.tensor(inputs["cosine"], dtype=dtype, requires_grad=True)
        loss = function(x)
        assert loss.item() == pytest.approx(value, rel=rtol)
        close(torch.autograd.grad(loss, x)[0], gradient, max(rtol, 1e-7))  # central differences are no more exact


def test_the_dropout_variance_approaches_the_exact_variance_over_all_masks() -> None:
    """3 features have 8 masks, so that the exact variance is a sum of 8 terms."""
    torch.manual_seed(0)
    features, weight = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    masks = torch.tensor([[float(i >> b & 1) for b in range(3)] for i in range(8)], dtype=torch.float64)
    chance = torch.tensor([0.7 ** int(m.sum()) * 0.3 ** (3 - int(m.sum())) for m in masks], dtype=torch.float64)
    cosines = torch.stack([F.normalize(features * m, dim=1) @ F.normalize(weight, dim=1).T for m in masks])
    p = (5.0 * cosines).softmax(2)
    mean = (chance[:, None, None] * p).sum(0)
    exact = (chance[:, None, None] * (p - mean).square()).sum((0, 2))
    torch.testing.assert_close(dropout_variance(features, weight, 5.0, 0.3, 20_000), exact, rtol=0.03, atol=0)


def test_uncertainty_margins_are_linear_between_the_extremes() -> None:
    uncertainty, seen = torch.tensor([0.2, 0.4, 0.1, 0.3, 9.0]), torch.tensor([True, True, True, True, False])
    expected = [1 + 0.5 / 3, 1.5, 1.0, 1 + 1 / 3, 1.0]
    assert uncertainty_margins(uncertainty, seen, 1.5).tolist() == pytest.approx(expected)
    assert uncertainty_margins(uncertainty, ~torch.ones(5, dtype=torch.bool), 1.5).tolist() == [1.0] * 5
    assert uncertainty_margins(torch.ones(5), seen, 1.5).tolist() == [1.0] * 5


def test_progressive_margins(golden: Golden) -> None:
    """N(d_yj; mu_y, sigma_y) + 0.1 v_j, standardised over the classes: margin, gaussian and 0.1 * m_l of SanyeungWang/PML."""
    _, inputs, y = read(golden, "gcl")
    means, widths = [0.1 * i for i in range(16)], [0.2 + 0.05 * i for i in range(16)]
    variational = [math.sin(j) for j in range(10)]
    distances = [[abs(j - label) / 7 for j in range(10)] for label in y.tolist()]

    def by_hand(cosines: list[list[float]]) -> float:
        rows = []
        for cosine, mu, sigma, distance in zip(cosines, means, widths, distances, strict=True):
            bell = [math.exp(-((d - mu) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma) for d in distance]
            raw = [b + 0.1 * v for b, v in zip(bell, variational, strict=True)]
            average = sum(raw) / 10
            spread = math.sqrt(sum((r - average) ** 2 for r in raw) / 9)
            rows.append([30 * (c - 0.01 * (r - average) / spread) for c, r in zip(cosine, raw, strict=True)])
        return softmax_loss(rows, y.tolist())

    for dtype, rtol in TOLERANCES:
        mu, sigma, v, d = (torch.tensor(values, dtype=dtype) for values in (means, widths, variational, distances))
        x = torch.tensor(inputs["cosine"], dtype=dtype, requires_grad=True)
        margins = progressive_margins(ordinal_margins(d, mu, sigma), v, 0.01)
        value = F.cross_entropy(30 * (x - margins), y)
        assert value.item() == pytest.approx(by_hand(inputs["cosine"]), rel=rtol)
        close(torch.autograd.grad(value, x)[0], differences(by_hand, inputs["cosine"]), max(rtol, 1e-6))


def test_pml_statistics_and_their_memory() -> None:
    torch.manual_seed(0)
    part, head = PML(num_classes=4), torch.randn(4, 6)
    unit = [(row / row.norm()).tolist() for row in head]
    apart = [[1 - sum(a * b for a, b in zip(u, w, strict=True)) for w in unit] for u in unit]
    expected = torch.tensor([[1.0, sum(row) / 4] for row in apart])
    torch.testing.assert_close(class_statistics(F.normalize(head, dim=1), torch.ones(4)), expected)
    labels, cosines = torch.tensor([0, 2, 2]), torch.tensor([[0.5, 0, 0, 0], [0, 0, 0.2, 0], [0, 0, 0.4, 0]])
    outputs = Outputs(logits=30 * cosines, scale=30.0, head=head)
    batch = Batch(torch.zeros(3, 1), Labels.hard(labels), torch.arange(3))
    part.after_step({"main": outputs}, {"main": batch})
    torch.testing.assert_close(part.before, expected)  # the class statistics that the step used
    assert part.scatter.tolist() == pytest.approx([0.9 + 0.1 * 0.5, 1.0, 0.81 + 0.19 * 0.7, 1.0])


def test_running_means_count_mixed_rows_by_their_shares() -> None:
    """Two rows of share 0.5 count as one row; a class without rows keeps its value."""
    scores, labels = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64), torch.tensor([0, 0, 1])
    found, shares = torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64), torch.tensor([0.5, 0.5, 2.0], dtype=torch.float64)
    result = mean_scores(scores, found, labels, shares, 0.9)
    assert result.tolist() == pytest.approx([0.9 * 0.5 + 0.1 * 0.3, 0.81 * 0.5 + 0.19 * 0.8, 0.5], rel=1e-12)
