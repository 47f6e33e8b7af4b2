"""Semantic augmentation against independent float64 evaluations, where no golden file holds the authors' numbers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.augmentation import RISDA, MetaSAug
from ltrun.augmentation.isda import isda_logits
from ltrun.augmentation.moments import Moments, joined
from ltrun.augmentation.risda import risda_logits
from ltrun.engine.objective import Objective
from ltrun.engine.update import Bilevel
from ltrun.engine.update import Plain as PlainStep
from ltrun.loss import Classification
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs, View
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
    return F.cross_entropy(logits, meta.targets.labels).item()


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


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_logits_of_risda_are_those_of_shifted_features_in_the_limit(diagonal: bool) -> None:
    """RISDA, Chen et al., 2022, as defined by its authors' loss.py: rows, classes and features one after the other in NumPy.

    The authors add alpha * d to the feature and alpha * (w_j - w_y) d to the logit; here the logit has twice alpha, and the
    loss is the same.
    """
    features, labels = drawn(12, 4, 3)
    generator = torch.Generator().manual_seed(7)
    head, directions = (torch.randn(3, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    covariances = joined(nothing(3, (4,) if diagonal else (4, 4)), features, labels, torch.ones(12, dtype=torch.float64))[2]
    alpha, beta = 0.3, 0.6
    found = risda_logits(features @ head.T, labels, head, covariances, directions, 2 * alpha, beta)
    losses = F.cross_entropy(found, labels, reduction="none")
    w, d = head.numpy(), directions.numpy()
    for feature, y, loss in zip(features.numpy(), labels.tolist(), losses.tolist(), strict=True):
        own = covariances[y].numpy()
        covariance = np.diag(own) if diagonal else own
        z = [
            w[j] @ (feature + alpha * d[y])
            + beta / 2 * (w[j] - w[y]) @ covariance @ (w[j] - w[y])
            + alpha * (w[j] - w[y]) @ d[y]
            for j in range(3)
        ]
        assert loss == pytest.approx(np.log(np.exp(z).sum()) - z[y], rel=1e-12)


def test_risda_borrows_means_and_covariances_of_confused_classes() -> None:
    """A training set of ten rows in four classes: K, d = K m - m, and S_c = sum_j K_cj S_j for the classes of the tail."""
    stats = ClassStats(torch.tensor([4, 3, 2, 1, 0]))
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
    taken = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1, 2, 4])
    features = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def opened(rows: Tensor) -> Batch:
        return Batch(rows, Labels.hard(labels[rows]), rows)

    def predicted(rows: Tensor) -> Outputs:
        return Outputs(features=features[9 - rows], logits=F.one_hot(taken[9 - rows], 5).double())

    def view(epoch: int) -> View:
        """Images are their row numbers, which augmentation turns round."""
        what = stats, opened, predicted, torch.Generator(), labels
        return View(Clock("classifier", epoch, 40), *what, lambda batch: batch.replace(inputs=9 - batch.inputs))

    part = RISDA(head_share=0.4, stats=stats, features=3).double()
    part.adapt(view(0))
    k = np.array([[0.75, 0.25, 0, 0, 0], [0.33, 0.67, 0, 0, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 1], [0] * 5])
    m = np.array([features[labels == c].numpy().mean(0) if c < 4 else np.zeros(3) for c in range(5)])
    np.testing.assert_allclose(part.directions, k @ m - m, atol=1e-12)
    seen = joined(part.moments.now(), features, labels, torch.ones(10, dtype=torch.float64))
    found = part.borrowed(seen).covariances.numpy()
    s = seen.covariances.numpy()
    for c in range(5):
        np.testing.assert_allclose(found[c], s[c] if c < 2 else sum(k[c, j] * s[j] for j in range(5)), atol=1e-12)
    np.testing.assert_allclose(part.now, [0.8, 0.6], rtol=1e-6)
    part.adapt(view(20))
    np.testing.assert_allclose(part.now, [0.9, 0.675], rtol=1e-6)
    main, other = (Outputs(features=x, logits=x @ x.T, head=None) for x in (features, features + 1))
    part.after_step({"main": main}, {"main": Batch(labels, Labels.hard(labels), labels)})
    np.testing.assert_allclose(part.moments.covariances, found, atol=1e-12)  # for good: the next step borrows again
    expected = part.borrowed(joined(part.moments.now(), features + 1, labels, torch.ones(10, dtype=torch.float64)))
    part.after_step({"main": other}, {"main": Batch(labels, Labels.hard(labels), labels)})
    np.testing.assert_allclose(part.moments.covariances, expected.covariances, atol=1e-12)
