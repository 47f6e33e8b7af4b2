"""CC-SAM: moves of each class against autograd and loops in float64, weights of classes, the ramp, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.regularization import ClassConditionalSAM, FeatureSAM
from ltrun.regularization.cc_sam import step_of_classifier, step_of_features
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view

COUNTS = torch.tensor([500, 60, 9, 1, 0])
STATS = ClassStats(COUNTS)
LABELS = torch.tensor([0, 0, 0, 1, 1, 3, 3, 2])


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


FEATURES, WEIGHT, BIAS = drawn(8, 6), drawn(5, 6), drawn(5)
HARD = Labels.hard(LABELS)
MIXED = HARD.mix(Labels.hard(LABELS.flip(0)), torch.full((8,), 0.7))


def row_losses(logits: Tensor, targets: Labels) -> Tensor:
    return sum(
        (w * F.cross_entropy(logits, y, reduction="none") for y, w in zip(targets.index.T, targets.weight.T, strict=True)),
        start=torch.zeros(len(logits), dtype=logits.dtype),
    )


def moved_by_hand(features: Tensor, weight: Tensor, bias: Tensor, targets: Labels, rho: float) -> Tensor:
    """The logits of each row from a classifier that its class has moved, class by class, as in the authors' loop."""
    found = torch.empty(8, 5, dtype=torch.float64)
    size, number = torch.cat([weight.flatten(), bias]).norm(), weight.numel() + bias.numel()
    for label in targets.labels.unique():
        rows = targets.labels == label
        tensors = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
        loss = row_losses(F.linear(features, *tensors), targets)[rows].mean()
        steps = []
        for slope in torch.autograd.grad(loss, tensors):
            norm = slope.norm()
            rest = max(int(COUNTS[label]) - 1, 1) ** 0.25 * number**0.25
            radius = rho * size.sqrt() / (2 * norm).sqrt() / rest
            steps.append(radius * slope / norm * math.sqrt(number))
        found[rows] = F.linear(features, weight + steps[0], bias + steps[1])[rows]
    return found


@pytest.mark.parametrize("targets", [HARD, MIXED], ids=["hard", "mixed"])
def test_each_class_moves_the_classifier_up_its_own_loss(targets: Labels) -> None:
    logits = F.linear(FEATURES, WEIGHT, BIAS)
    step = step_of_classifier(FEATURES, logits, WEIGHT, targets, COUNTS.clamp(min=1), 0.1)
    torch.testing.assert_close(logits + step, moved_by_hand(FEATURES, WEIGHT, BIAS, targets, 0.1), rtol=1e-9, atol=1e-12)


def streams(targets: Labels) -> dict[str, Batch]:
    return {"main": Batch(torch.zeros(8, 1), targets, torch.arange(8))}


def outputs(features: Tensor, weight: Tensor) -> dict[str, Outputs]:
    return {"main": Outputs(features=features, logits=F.linear(features, weight, BIAS), head=weight)}


def test_the_first_stage_has_half_the_mixed_loss_and_half_the_loss_of_moved_classifiers() -> None:
    features, weight = FEATURES.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
    term = ClassConditionalSAM(0.1, classify=Classification(), stats=STATS)
    value = term(outputs(features, weight), streams(MIXED))
    logits = F.linear(features, weight, BIAS)
    flat = F.cross_entropy(logits + (moved_by_hand(FEATURES, WEIGHT, BIAS, MIXED, 0.1) - logits).detach(), LABELS)
    expected = 0.5 * row_losses(logits, MIXED).mean() + 0.5 * flat
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(value, [features, weight], retain_graph=True),
        torch.autograd.grad(expected, [features, weight]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_the_authors_radius_moves_logits_in_their_sixth_digit() -> None:
    logits = F.linear(FEATURES, WEIGHT, BIAS)
    step = step_of_classifier(FEATURES, logits, WEIGHT, HARD, COUNTS.clamp(min=1), 1e-6)
    assert 0 < float(step.abs().max()) < 1e-4 * float(logits.abs().max())


def test_the_second_stage_moves_features_up_the_loss_of_their_class() -> None:
    term = FeatureSAM(classify=Classification(), stats=STATS).double()
    term.adapt(blind_view(Clock("classifier", 4, 30), STATS))
    counts = torch.where(COUNTS > 0, COUNTS, 1).double()
    levels = (500 / counts + 0.01).log() / 2
    weight = WEIGHT.clone().requires_grad_()
    features = FEATURES.clone().requires_grad_()
    losses, rows = row_losses(F.linear(features, WEIGHT, BIAS), HARD), []
    for label in LABELS.unique():
        own = label == LABELS
        (slope,) = torch.autograd.grad(losses[own].mean(), features, retain_graph=True)
        step = slope / slope.norm() * levels[label]
        rows.append((levels[label] * row_losses(F.linear(FEATURES + step, weight, BIAS), HARD))[own])
        found = step_of_features(F.linear(FEATURES, WEIGHT, BIAS), WEIGHT, HARD, levels[LABELS])
        torch.testing.assert_close(found[own], step[own], rtol=1e-9, atol=1e-12)
    share = 5 / 30
    expected = share * torch.cat(rows).mean() + (1 - share) * F.cross_entropy(F.linear(FEATURES, weight, BIAS), LABELS)
    value = term(outputs(FEATURES, weight), streams(HARD))
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    (one,), (other,) = torch.autograd.grad(value, weight, retain_graph=True), torch.autograd.grad(expected, weight)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("epoch", "alpha"), [(0, 1 / 30), (8, 0.3), (29, 0.3)])
def test_the_share_of_moved_features_rises_to_its_limit(epoch: int, alpha: float) -> None:
    term = FeatureSAM(classify=Classification(), stats=STATS)
    term.adapt(blind_view(Clock("classifier", epoch, 30), STATS))
    assert float(term.alpha) == pytest.approx(alpha, rel=1e-6)


def test_a_batch_that_is_certain_has_no_move_and_no_nan() -> None:
    features, weight = 1e3 * torch.eye(5), torch.eye(5)
    logits, targets = features @ weight.T, Labels.hard(torch.arange(5))
    assert not step_of_classifier(features, logits, weight, targets, COUNTS.clamp(min=1), 1e-6).any()
    assert not step_of_features(logits, weight, targets, torch.ones(5)).any()


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="rho must be above 0"):
        ClassConditionalSAM(0.0, classify=Classification(), stats=STATS)
    with pytest.raises(ConfigError, match="share must be above 0 and at most 1"):
        ClassConditionalSAM(share=0.0, classify=Classification(), stats=STATS)
    with pytest.raises(ConfigError, match="limit must be above 0 and at most 1"):
        FeatureSAM(2.0, classify=Classification(), stats=STATS)
