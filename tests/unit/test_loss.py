"""Classification loss against its formula, for combinations of margins, class weights and mixed labels."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ltrun.logit_adjustment import BalancedSoftmax, LogitAdjustment
from ltrun.loss import Classification
from ltrun.margin import LDAM
from ltrun.parts import Criterion
from ltrun.reweighting import Deferred, EffectiveNumber, Focal, InverseFrequency
from ltrun.types import ClassStats, Clock, Labels, Outputs, View
from tests.support.cases import blind_view

STATS = ClassStats(torch.tensor([500, 60, 9, 1, 0]))  # one class has a single image, one class has none
COUNTED = [500, 60, 9, 1, 0]
HEAD_SCALE = 16.0  # scale of the head, unlike LDAM's own 30


# --------------------------------------------------------------------------------- the formula, again, in plain Python


def log_softmax(row: list[float]) -> list[float]:
    top = max(row)
    norm = math.fsum(math.exp(value - top) for value in row)
    return [value - top - math.log(norm) for value in row]


def effective(beta: float) -> list[float]:
    raw = [(1 - beta) / (1 - beta**n) if n else 0.0 for n in COUNTED]
    return [value * sum(n > 0 for n in COUNTED) / math.fsum(raw) for value in raw]


def inverse(exponent: float) -> list[float]:
    raw = [n**-exponent if n else 0.0 for n in COUNTED]
    return [value * sum(n > 0 for n in COUNTED) / math.fsum(raw) for value in raw]


def by_hand_adjust(name: str, row: list[float], label: int) -> list[float]:
    if name == "ldam":
        least = min(n for n in COUNTED if n)
        margin = 0.5 * (least / max(COUNTED[label], least)) ** 0.25
        cosines = [value / HEAD_SCALE for value in row]
        return [30.0 * (cosine - (margin if c == label else 0.0)) for c, cosine in enumerate(cosines)]
    if name == "balanced_softmax":
        return [value + math.log(max(n, 1)) for value, n in zip(row, COUNTED, strict=True)]
    if name == "logit_adjustment":
        least = min(n for n in COUNTED if n)
        return [value + 1.5 * math.log(max(n, least) / sum(COUNTED)) for value, n in zip(row, COUNTED, strict=True)]
    raise KeyError(name)


def by_hand_weight(name: str, row: list[float], label: int) -> float:
    if name == "effective_number":
        return effective(0.99)[label]
    if name == "inverse_frequency":
        return inverse(0.5)[label]
    if name == "focal":
        return (1 - math.exp(log_softmax(row)[label])) ** 2
    if name == "deferred_off":
        return 1.0
    if name == "deferred_on":
        return effective(0.99)[label]
    raise KeyError(name)


MEANS = {"focal": "batch", "effective_number": "weights", "inverse_frequency": "weights"}
MEANS |= {"deferred_off": "weights", "deferred_on": "weights"}


def by_hand(logits: Tensor, targets: Labels, adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> float:
    """sum_m sum_i weight[i,m] * w(i,m) * ce(adjust(logits, y_m), y_m)[i] / norm_m."""
    total = 0.0
    for column in range(targets.index.shape[1]):
        summed, norm = [], []
        for i, row in enumerate(logits.double().tolist()):
            label = int(targets.index[i, column])
            for name in adjusts:
                row = by_hand_adjust(name, row, label)
            weights = [by_hand_weight(name, row, label) for name in weighs]
            summed.append(float(targets.weight[i, column]) * math.prod(weights) * -log_softmax(row)[label])
            counted = [w for w, name in zip(weights, weighs, strict=True) if MEANS[name] == "weights"]
            norm.append(math.prod(counted) if counted else 1.0)
        total += math.fsum(summed) / math.fsum(norm)
    return total


# --------------------------------------------------------------------------------------------------------- Classification


def view(epoch: int, epochs: int = 10) -> View:
    return blind_view(Clock("train", epoch, epochs), STATS)


def part(name: str) -> Any:
    if name.startswith("deferred"):
        deferred = Deferred(EffectiveNumber(0.99, stats=STATS))
        deferred.adapt(view(8 if name == "deferred_on" else 7))
        return deferred
    return {
        "ldam": lambda: LDAM(stats=STATS),
        "balanced_softmax": lambda: BalancedSoftmax(stats=STATS),
        "logit_adjustment": lambda: LogitAdjustment(1.5, stats=STATS),
        "effective_number": lambda: EffectiveNumber(0.99, stats=STATS),
        "inverse_frequency": lambda: InverseFrequency(0.5, stats=STATS),
        "focal": lambda: Focal(2.0),
    }[name]()


def classification(adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> Classification:
    loss = Classification(adjusts=[part(name) for name in adjusts], weighs=[part(name) for name in weighs])
    return loss.double()


def example(batch: int, columns: int, seed: int = 0) -> tuple[Tensor, Labels]:
    """Returns logits that are HEAD_SCALE times cosines, and labels of classes with images, whose weights sum to 1 per row."""
    generator = torch.Generator().manual_seed(seed)
    logits = HEAD_SCALE * (2 * torch.rand(batch, 5, generator=generator, dtype=torch.float64) - 1)
    index = torch.randint(0, 4, (batch, columns), generator=generator)
    weight = torch.rand(batch, columns, generator=generator, dtype=torch.float64)
    return logits, Labels(index, weight / weight.sum(1, keepdim=True))


ADJUSTS = [
    (), ("ldam",), ("balanced_softmax",), ("logit_adjustment",), ("ldam", "balanced_softmax"), ("ldam", "logit_adjustment"),
    ("logit_adjustment", "balanced_softmax"), ("logit_adjustment", "ldam"), ("ldam", "balanced_softmax", "logit_adjustment"),
]  # fmt: skip
WEIGHS = [
    (), ("focal",), ("effective_number",), ("inverse_frequency",), ("deferred_off",), ("deferred_on",),
    ("effective_number", "focal"), ("focal", "effective_number"), ("inverse_frequency", "effective_number"),
    ("deferred_on", "inverse_frequency", "focal"), ("deferred_off", "focal"),
]  # fmt: skip


@pytest.mark.parametrize("weighs", WEIGHS, ids="+".join)
@pytest.mark.parametrize("adjusts", ADJUSTS, ids="+".join)
def test_the_loss_equals_its_formula(adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> None:
    loss = classification(adjusts, weighs)
    for batch, columns in ((1, 1), (1, 4), (6, 1), (6, 2), (6, 4)):
        logits, targets = example(batch, columns, seed=batch * columns)
        found = loss.loss(logits, targets, Outputs(logits=logits, scale=HEAD_SCALE))
        # the parts keep their class vectors in float32
        assert found.item() == pytest.approx(by_hand(logits, targets, adjusts, weighs), rel=2e-6)


@pytest.mark.parametrize(("adjusts", "weighs"), [(ADJUSTS[5], WEIGHS[9]), (ADJUSTS[8], WEIGHS[6]), ((), WEIGHS[1])])
def test_the_gradient_equals_central_differences_of_the_formula(adjusts: tuple[str, ...], weighs: tuple[str, ...]) -> None:
    """The gradient also flows through the weights, as in the focal loss."""
    loss = classification(adjusts, weighs)
    logits, targets = example(3, 2)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss.loss(logits, targets, Outputs(logits=logits, scale=HEAD_SCALE)), logits)
    expected, step = torch.zeros_like(gradient), 1e-4
    for i, c in product(range(3), range(5)):
        moved = []
        for sign in (1, -1):
            there = logits.detach().clone()
            there[i, c] += sign * step
            moved.append(by_hand(there, targets, adjusts, weighs))
        expected[i, c] = (moved[0] - moved[1]) / (2 * step)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_plain_loss_equals_torchs_cross_entropy() -> None:
    logits, targets = example(8, 1)
    found = classification((), ()).loss(logits, targets, Outputs(logits=logits))
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits, targets.labels))
    weighted = classification((), ("effective_number",)).loss(logits, targets, Outputs(logits=logits))
    expected = nn.functional.cross_entropy(logits, targets.labels, torch.tensor(effective(0.99), dtype=torch.float64))
    torch.testing.assert_close(weighted, expected, rtol=1e-6, atol=0)


def test_a_label_split_over_two_columns_counts_as_one_label() -> None:
    """Two columns with the same class and half the weight each, or a column of weight 0, change nothing."""
    logits, targets = example(6, 1)
    loss, outputs = classification(("ldam",), ("effective_number", "focal")), Outputs(logits=logits, scale=HEAD_SCALE)
    whole = loss.loss(logits, targets, outputs)
    half = torch.full((6,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(loss.loss(logits, targets.mix(targets, half), outputs), whole)
    other = Labels(targets.index.flip(0), targets.weight)
    torch.testing.assert_close(loss.loss(logits, targets.mix(other, torch.ones_like(half)), outputs), whole)
    torch.testing.assert_close(loss.loss(logits, other.mix(targets, torch.zeros_like(half)), outputs), whole)


def test_the_order_of_label_columns_does_not_matter() -> None:
    logits, targets = example(6, 4)
    loss, outputs = classification(("ldam",), ("deferred_on",)), Outputs(logits=logits, scale=HEAD_SCALE)
    flipped = Labels(targets.index.flip(1), targets.weight.flip(1))
    torch.testing.assert_close(loss.loss(logits, flipped, outputs), loss.loss(logits, targets, outputs))


def test_each_label_column_has_its_own_margin() -> None:
    """The trap of soft labels: the margin of a mixed label is not the mixture of the margins."""
    logits, targets = example(4, 2, seed=3)
    loss = classification(("ldam",), ())
    outputs = Outputs(logits=logits, scale=HEAD_SCALE)
    apart = torch.zeros((), dtype=torch.float64)
    for column in (0, 1):
        for i in range(4):
            label = Labels(targets.index[i : i + 1, column : column + 1], torch.ones(1, 1, dtype=torch.float64))
            apart += targets.weight[i, column] * loss.loss(logits[i : i + 1], label, outputs) / 4
    torch.testing.assert_close(loss.loss(logits, targets, outputs), apart)


class Squared(Criterion):
    """(1 - p)^2 for the probability p of the label: a criterion that differs from cross-entropy."""

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return (1 - logits.softmax(1).gather(1, labels[:, None])[:, 0]) ** 2


def test_a_criterion_replaces_the_cross_entropy_and_nothing_else() -> None:
    """Margins, weights and means stay: the expected value is the formula with (1 - p)^2 in place of the cross-entropy."""
    logits, targets = example(6, 2)
    adjusts, weighs = ("ldam", "logit_adjustment"), ("inverse_frequency", "focal")
    loss = Classification(adjusts=[part(a) for a in adjusts], weighs=[part(w) for w in weighs], criterion=Squared()).double()
    expected = 0.0
    for column in range(2):
        summed, norm = [], []
        for i, row in enumerate(logits.tolist()):
            label = int(targets.index[i, column])
            for name in adjusts:
                row = by_hand_adjust(name, row, label)
            weight, focal = (by_hand_weight(name, row, label) for name in weighs)
            probability = math.exp(log_softmax(row)[label])
            summed.append(float(targets.weight[i, column]) * weight * focal * (1 - probability) ** 2)
            norm.append(weight)
        expected += math.fsum(summed) / math.fsum(norm)
    found = loss.loss(logits, targets, Outputs(logits=logits, scale=HEAD_SCALE))
    assert found.item() == pytest.approx(expected, rel=2e-6)
