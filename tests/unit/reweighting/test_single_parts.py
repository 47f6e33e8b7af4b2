"""Rules of single re-weighting parts: equalization, class difficulty, initial probability, label-aware smoothing."""

import pytest
import torch
from torch.nn import functional as F

from ltrun.reweighting import ClassDifficultyBalanced, EqualizationV2, LabelAwareSmoothing, SigmoidFocal, SoftmaxEqualization
from ltrun.reweighting.sigmoid import starting_logit
from ltrun.types import ClassStats, Labels, Outputs
from tests.support.reweighting import AS_IT_IS, STATS, at_epoch, step


def test_equalization_v2_splits_the_gradient_of_mixed_labels_by_their_shares() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    first, second = Labels.hard(torch.tensor([0, 1, 2, 3])), Labels.hard(torch.tensor([3, 3, 0, 0]))
    parts = [EqualizationV2(num_classes=5) for _ in range(3)]
    for part, labels in zip(parts, (first, second, first.mix(second, torch.full((4,), 0.3))), strict=True):
        step(part, logits, labels)
    for name in ("positive_gradient", "negative_gradient"):
        one, other, mixed = (getattr(part, name) for part in parts)
        torch.testing.assert_close(mixed, 0.3 * one + 0.7 * other)


def test_equalization_v2_favours_discouraged_classes() -> None:
    part, logits = EqualizationV2(num_classes=5), torch.zeros(12, 5)
    step(part, logits, Labels.hard(torch.tensor([0] * 10 + [1, 2])))
    positive, negative = part.weights()
    assert negative[0] > 0.9 and positive[0] < 1.5  # class 0 is encouraged more than discouraged
    assert (negative[1:] < 0.2).all() and (positive[1:] > 4).all()


def test_difficult_classes_weigh_more_whatever_their_size() -> None:
    part = ClassDifficultyBalanced(stats=STATS)
    assert part.weights.tolist() == [1.0] * 5
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3])
    right = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 2, 0, 0, 0, 3, 3, 3, 3])  # 3/4, 2/4, 1/4 and 4/4 right
    step(part, F.one_hot(right, 5).float(), Labels.hard(labels))
    at_epoch(part, 1)
    assert part.weights[3] < part.weights[0] < part.weights[1] < part.weights[2]
    assert part.weights[3] > 0 and part.weights[4] == 0  # class 3 is learnt but not left out; class 4 has no images
    assert part.weights.sum().item() == pytest.approx(4)


def test_a_class_absent_from_an_epoch_keeps_its_difficulty() -> None:
    part = ClassDifficultyBalanced(1.0, stats=STATS)
    step(part, F.one_hot(torch.tensor([0, 1, 0, 0]), 5).float(), Labels.hard(torch.tensor([0, 0, 2, 3])))
    at_epoch(part, 1)
    assert part.accuracy.tolist() == [0.5, 0.0, 0.0, 0.0, 0.0]
    step(part, F.one_hot(torch.tensor([1, 2]), 5).float(), Labels.hard(torch.tensor([1, 2])))
    at_epoch(part, 2)
    assert part.accuracy.tolist() == [0.5, 1.0, 1.0, 0.0, 0.0]
    kept = part.weights.clone()
    at_epoch(part, 3)  # an epoch without any step changes nothing
    assert torch.equal(part.weights, kept)


def test_classes_weigh_the_same_once_all_are_learnt() -> None:
    part, labels = ClassDifficultyBalanced(stats=ClassStats(torch.tensor([9, 3, 1]))), torch.tensor([0, 1, 2])
    step(part, F.one_hot(labels, 3).float(), Labels.hard(labels))
    at_epoch(part, 1)
    torch.testing.assert_close(part.weights, torch.ones(3))


def test_rare_classes_leave_the_softmax_of_others_with_probability_gamma() -> None:
    stats = ClassStats(torch.tensor([700, 200, 60, 40]))  # the threshold, half of an equal share, is 125 images
    part, logits = SoftmaxEqualization(0.9, stats=stats), torch.zeros(20000, 4)
    assert part.rare.tolist() == [False, False, True, True]
    labels = torch.arange(20000) % 4
    torch.manual_seed(0)
    gone = part(logits, labels, Outputs()).isinf()
    assert not gone[:, :2].any() and not gone[torch.arange(20000), labels].any()
    others = gone[:, 2:][labels < 2].float()
    assert others.mean(0).tolist() == pytest.approx([0.9, 0.9], abs=0.01)  # 3 standard deviations are 0.009
    assert others.prod(1).mean().item() == pytest.approx(0.81, abs=0.012)  # each class draws for itself


def test_the_default_threshold_equals_the_published_one_on_cifar100_lt() -> None:
    counts = torch.tensor([int(500 * 0.01 ** (i / 99)) for i in range(100)])  # CIFAR100-LT
    rare = SoftmaxEqualization(stats=ClassStats(counts)).rare
    assert torch.equal(rare, SoftmaxEqualization(threshold=0.005, stats=ClassStats(counts)).rare) and 0 < rare.sum() < 100


def test_the_initial_probability_of_sigmoids_acts_as_a_bias_of_the_head() -> None:
    """Cui et al. initialise the last bias to -log((1 - pi) / pi) with pi = 1 / C."""
    logits, labels = torch.randn(6, 100), torch.arange(6)
    assert starting_logit(None, 100) == pytest.approx(-torch.tensor(99.0).log().item())
    with_bias = SigmoidFocal(1.0, AS_IT_IS, num_classes=100)(logits - torch.tensor(99.0).log(), labels, Outputs())
    torch.testing.assert_close(SigmoidFocal(1.0, num_classes=100)(logits, labels, Outputs()), with_bias)
    zeros = torch.zeros(1, 100)
    first = {pi: SigmoidFocal(0.0, pi, num_classes=100)(zeros, torch.tensor([0]), Outputs()).item() for pi in (None, 0.5)}
    assert first[None] == pytest.approx(5.6, abs=0.01) and first[0.5] == pytest.approx(69.3, abs=0.1)


def test_larger_classes_are_smoothed_more() -> None:
    for shape in ("concave", "linear", "convex"):
        smoothing = LabelAwareSmoothing(shape=shape, stats=STATS).smoothing
        assert smoothing[0].item() == pytest.approx(0.4) and smoothing[3:].tolist() == pytest.approx([0.1, 0.1])
        assert (smoothing[:4].diff() < 0).all()
    balanced = LabelAwareSmoothing(stats=ClassStats(torch.tensor([7, 7, 7]))).smoothing
    assert balanced.tolist() == pytest.approx([0.1] * 3)
