"""Bilevel methods against independent float64 evaluations: no golden file of the original authors' code exists."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltrun.engine.update import Bilevel
from ltrun.engine.update import Plain as PlainStep
from ltrun.loss import Classification
from ltrun.parts import Weigh
from ltrun.resampling import MetaSampler, RateRatio
from ltrun.reweighting import MetaWeightNet
from ltrun.types import Labels, Outputs
from tests.support.bilevel import CLASSES, COUNTS, RATE, STATS, STREAMS, differences, objective, outer_gradient


def meta_weight_net() -> Weigh:
    torch.manual_seed(1)
    return MetaWeightNet(hidden=3).double()


def rate_ratio() -> Weigh:
    sampler = MetaSampler(0.4, stats=STATS).double()
    with torch.no_grad():  # as in the middle of an epoch: the rates have moved since the rows were drawn
        sampler.log_counts.copy_(COUNTS.double().log())
        sampler.logits.add_(torch.tensor([0.3, -0.2, 0.5]))
    return RateRatio(sampler=sampler)


WEIGHS = {"meta_weight_net": meta_weight_net, "rate_ratio": rate_ratio}


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def weights_by_hand(weigh: Weigh, losses: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """The weights of the rows and the divisor of the weighted sum, in NumPy."""
    if isinstance(weigh, MetaWeightNet):
        w1, b1, w2, b2 = (p.detach().numpy() for p in (*weigh.first.parameters(), *weigh.second.parameters()))
        hidden = np.maximum(losses[:, None] @ w1.T + b1, 0)
        weights = sigmoid(hidden @ w2.T + b2)[:, 0]
        return weights, float(weights.sum())
    assert isinstance(weigh, RateRatio)
    rates, n = sigmoid(weigh.sampler.logits.detach().numpy()), COUNTS.numpy()
    per_image = rates / (n * rates).sum()
    return per_image[labels] / np.exp(weigh.sampler.drawn.numpy())[labels], float(len(labels))


@pytest.mark.parametrize("name", WEIGHS)
def test_outer_gradient_of_a_linear_model(name: str) -> None:
    """The gradients of a linear softmax classifier have a closed form, so that only the central differences are inexact."""
    weigh = WEIGHS[name]()
    goal = objective(Classification(weighs=[weigh]), None)
    theta, bias = (goal.network.get_parameter(f"head.{name}").detach().numpy() for name in ("weight", "bias"))
    (x, y), (xm, ym) = (
        (b.inputs.double().flatten(1).numpy() / 128 - 1, b.targets.labels.numpy()) for b in (STREAMS["main"], STREAMS["meta"])
    )
    p = softmax(x @ theta.T + bias)
    losses = -np.log(p[np.arange(len(y)), y])
    error = p - np.eye(CLASSES)[y]

    def meta_loss() -> float:
        weights, norm = weights_by_hand(weigh, losses, y)
        pull = weights[:, None] * error / norm
        q = softmax(xm @ (theta - RATE * pull.T @ x).T + bias - RATE * pull.sum(0))
        return float(-np.log(q[np.arange(len(ym)), ym]).mean())

    gradient, phi = outer_gradient(goal)
    expected = differences(meta_loss, phi)
    assert gradient.dtype == torch.float64 and gradient.abs().max() > 1e-4
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("virtual", ["*", "*head*"])
@pytest.mark.parametrize("name", WEIGHS)
def test_outer_gradient_of_a_residual_network(name: str, virtual: str) -> None:
    """Central differences of the meta loss after a step of torch's own SGD on a copy, with batch normalisation."""
    goal = objective(Classification(weighs=[WEIGHS[name]()]), 8)
    gradient, phi = outer_gradient(goal, (virtual,))

    def meta_loss() -> float:
        copy = deepcopy(goal)
        stepped = [p for n, p in copy.network.named_parameters() if virtual == "*" or "head" in n]
        PlainStep()(copy, torch.optim.SGD(stepped, RATE), STREAMS)
        meta = STREAMS["meta"]
        return F.cross_entropy(copy.network.predict(copy.prepare(meta.inputs)).logits, meta.targets.labels).item()  # type: ignore[arg-type]

    assert gradient.abs().max() > 1e-5
    torch.testing.assert_close(gradient, differences(meta_loss, phi), rtol=1e-4, atol=1e-8)


def test_adam_of_the_outer_parameters_matches_torch() -> None:
    torch.manual_seed(0)
    mine, torchs = ([nn.Parameter(torch.arange(6.0).view(2, 3)), nn.Parameter(torch.ones(4))] for _ in range(2))
    bilevel = Bilevel(lr=0.01, weight_decay=0.1, outer=mine)
    adam = torch.optim.Adam(torchs, lr=0.01, weight_decay=0.1)
    for step in range(20):
        gradient = torch.randn(10) * 10.0 ** (step % 5 - 3)
        bilevel.move(gradient)
        torchs[0].grad, torchs[1].grad = gradient[:6].view(2, 3), gradient[6:]
        adam.step()
    for a, b in zip(mine, torchs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
def test_meta_weight_net_loss(dtype: torch.dtype, rtol: float) -> None:
    """sum_i V(l_i) l_i / sum_i V(l_i), with V(l) constant for the gradient, against NumPy."""
    weigh = meta_weight_net()
    x = 3 * np.random.RandomState(0).randn(7, CLASSES)
    y = np.array([0, 0, 0, 0, 1, 1, 2])
    p = softmax(x)
    losses = -np.log(p[np.arange(7), y])
    weights, total = weights_by_hand(weigh, losses, y)
    logits = torch.tensor(x, dtype=dtype, requires_grad=True)
    loss = Classification(weighs=[weigh.to(dtype)]).loss(logits, Labels.hard(torch.tensor(y)), Outputs(logits=logits))
    assert loss.item() == pytest.approx((weights * losses).sum() / total, rel=rtol)
    expected = torch.tensor(weights[:, None] * (p - np.eye(CLASSES)[y]) / total)
    gradient = torch.autograd.grad(loss, logits)[0].double()
    torch.testing.assert_close(gradient, expected, rtol=rtol, atol=rtol * float(expected.abs().max()))


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_initial_rates_of_the_meta_sampler(power: float) -> None:
    """The authors' initial rates: prior ** -power, divided by the sum of its smallest and its largest entry."""
    raw = (COUNTS / COUNTS.sum()).double() ** -power
    sampler = MetaSampler(power, stats=STATS)
    torch.testing.assert_close(torch.sigmoid(sampler.logits).double(), raw / (raw.min() + raw.max()), rtol=1e-6, atol=0)
    share, expected = (COUNTS * sampler.drawn.exp()).double(), COUNTS.double() ** (1 - power)
    torch.testing.assert_close(share, expected / expected.sum(), rtol=1e-5, atol=0)


def test_the_ratio_turns_the_expected_loss_into_the_loss_at_the_present_rates() -> None:
    """E[ratio * loss] over the draw, and its derivative in the logits, equal the values for rows drawn at the present rates."""
    weigh = rate_ratio()
    assert isinstance(weigh, RateRatio)
    sampler, labels = weigh.sampler, torch.arange(CLASSES).repeat_interleave(COUNTS)
    losses = torch.rand(len(labels), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(len(labels), CLASSES, dtype=torch.float64)
    value = (sampler.drawn.exp()[labels] * weigh(logits, labels, Outputs()) * losses).sum()
    (gradient,) = torch.autograd.grad(value, sampler.logits)
    rates = torch.sigmoid(sampler.logits.detach())
    share = rates[labels] / rates[labels].sum()
    assert value.item() == pytest.approx((share * losses).sum().item(), rel=1e-12)
    by_class = torch.zeros(CLASSES, dtype=torch.float64).index_add_(0, labels, share * (losses - value.detach()))
    torch.testing.assert_close(gradient, by_class * (1 - rates), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(sampler.drawn, sampler.log_rates())  # otherwise every ratio is 1
