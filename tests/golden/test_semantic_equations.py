"""Semantic augmentation against independent float64 evaluations, where no golden file holds the authors' numbers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.augmentation import MetaSAug
from ltrun.augmentation.isda import isda_logits
from ltrun.augmentation.moments import Moments, joined
from ltrun.engine.objective import Objective
from ltrun.engine.update import Bilevel
from ltrun.engine.update import Plain as PlainStep
from ltrun.loss import Classification
from tests.support.bilevel import CLASSES, RATE, STATS, STREAMS, differences, objective, outer_gradient

RESIDUAL = 8  # features of the residual network of tests.support.bilevel


def metasaug(features: int) -> MetaSAug:
    """A part with covariances that no batch has made, and with a change of them, as between two passes of a step."""
    torch.manual_seed(1)
    part = MetaSAug(strength=0.75, initial=0.8, stats=STATS, features=features).double()
    factors = torch.randn(CLASSES, features, features, dtype=torch.float64)
    part.moments.covariances.copy_(factors @ factors.mT / features)
    with torch.no_grad():
        part.change.copy_(0.1 * torch.randn_like(part.change))
    return part


def meta_loss(goal: Objective, stepped: list[nn.Parameter]) -> float:
    """The plain cross-entropy of stream meta after a step of torch's own SGD on the given parameters of a copy."""
    PlainStep()(goal, torch.optim.SGD(stepped, RATE), STREAMS)
    meta = STREAMS["meta"]
    logits = goal.network.predict(goal.prepare(meta.inputs)).need("logits")
    return F.cross_entropy(logits, meta.targets.primary).item()


@pytest.mark.parametrize("virtual", ["*", "*head*"])
def test_the_gradient_of_the_covariances_agrees_with_difference_quotients(virtual: str) -> None:
    """MetaSAug, Li et al., 2021, the meta gradient of the covariances through a virtual step, second derivatives included."""
    goal = objective(Classification(adjusts=[metasaug(RESIDUAL)]), 8)
    gradient, phi = outer_gradient(goal, (virtual,))

    def after_a_step() -> float:
        copy = deepcopy(goal)
        return meta_loss(copy, [p for n, p in copy.network.named_parameters() if virtual == "*" or "head" in n])

    assert gradient.abs().max() > 1e-5
    torch.testing.assert_close(gradient, differences(after_a_step, phi), rtol=1e-4, atol=1e-8)


def test_a_step_of_metasaug_uses_the_changed_covariances_once() -> None:
    """The real step has S - 0.1 * gradient; then the estimate takes in the batch, and the change is gone."""
    part = metasaug(RESIDUAL)
    with torch.no_grad():
        part.change.zero_()
    goal, by_hand = objective(Classification(adjusts=[part]), 8), deepcopy(part)
    other = deepcopy(goal)
    gradient, phi = outer_gradient(goal)
    sgd = torch.optim.SGD(list(goal.network.parameters()), RATE)
    values, outputs, streams = Bilevel(lr=0.1, by="descent", outer=phi)(goal, sgd, STREAMS)
    torch.testing.assert_close(part.change.flatten(), -0.1 * gradient)
    expected = next(module for module in other.modules() if isinstance(module, MetaSAug))
    expected.moments.covariances.add_(part.change.detach())
    PlainStep()(other, torch.optim.SGD(list(other.network.parameters()), RATE), STREAMS)
    for name, parameter in goal.network.named_parameters():
        torch.testing.assert_close(parameter, other.network.get_parameter(name))
    by_hand.moments.store(by_hand.moments.with_step(outputs["main"], streams))
    part.after_step({name: output.detach() for name, output in outputs.items()}, streams)
    assert not part.change.any() and values["total"].isfinite()
    torch.testing.assert_close(part.moments.covariances, by_hand.moments.covariances, rtol=0, atol=0)


def drawn(rows: int, features: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    labels = torch.randint(classes, (rows,), generator=generator)
    return torch.randn(rows, features, generator=generator, dtype=torch.float64) * (1 + labels[:, None]), labels


def nothing(classes: int, shape: tuple[int, ...]) -> Moments:
    zeros: Callable[..., Tensor] = lambda *size: torch.zeros(classes, *size, dtype=torch.float64)  # noqa: E731
    return Moments(zeros(), zeros(shape[0]), zeros(*shape))


@pytest.mark.parametrize("diagonal", [False, True])
def test_running_moments_are_the_moments_of_all_rows(diagonal: bool) -> None:
    """Batch by batch, with a class that is absent from some batches and one that never comes, and with weighted rows."""
    features, labels = drawn(90, 4, 5)
    share = torch.rand(90, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    moments = nothing(6, (4,) if diagonal else (4, 4))
    for rows in torch.arange(90).split(7):
        moments = joined(moments, features[rows], labels[rows], share[rows])
    for c in range(5):
        own, weights = features[labels == c].numpy(), share[labels == c].numpy()
        covariance = np.cov(own.T, aweights=weights, bias=True)
        assert moments.counts[c].item() == pytest.approx(weights.sum(), rel=1e-12)
        np.testing.assert_allclose(moments.means[c], np.average(own, axis=0, weights=weights), rtol=1e-9)
        expected = np.diag(covariance) if diagonal else covariance
        np.testing.assert_allclose(moments.covariances[c], expected, rtol=1e-9, atol=1e-12)
    assert not moments.counts[5] and not moments.means[5].any() and not moments.covariances[5].any()


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_loss_of_isda_is_the_limit_of_shifted_features(diagonal: bool) -> None:
    """ISDA, Wang et al., 2019: log E[sum_j exp(z_j - z_y)] over features from N(a, ratio * S_y), here by quadrature.

    The expectation of exp of a normal variable is computed along its one direction w_j - w_y, by 40 Gauss-Hermite nodes.
    """
    features, labels = drawn(12, 4, 3)
    moments = joined(nothing(3, (4,) if diagonal else (4, 4)), features, labels, torch.ones(12, dtype=torch.float64))
    head, ratio = 0.3 * torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5)), 0.4
    losses = F.cross_entropy(isda_logits(features @ head.T, labels, head, moments.covariances, ratio), labels, reduction="none")
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    for feature, y, loss in zip(features.numpy(), labels.tolist(), losses.tolist(), strict=True):
        covariance, w = moments.covariances[y].numpy(), head.numpy()
        covariance = np.diag(covariance) if diagonal else covariance
        apart = w - w[y]
        deviation = np.sqrt(ratio * np.einsum("jd,de,je->j", apart, covariance, apart))
        expected = (np.exp(apart @ feature + deviation * nodes[:, None]) * weights[:, None]).sum(0) / weights.sum()
        assert loss == pytest.approx(np.log(expected.sum()), rel=1e-9)
