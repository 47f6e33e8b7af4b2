"""Deferred, class-aware, repeat-factor, curriculum and class-difficulty samplers: class frequencies, order, learnt state."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Sampler
from ltrun.resampling import (
    ClassAware,
    ClassDifficulty,
    Deferred,
    DynamicCurriculum,
    EffectiveNumber,
    Instance,
    Power,
    Progressive,
    RepeatFactor,
)
from ltrun.resampling.class_difficulty import difficulty_probabilities
from ltrun.resampling.dynamic_curriculum import curriculum_exponent
from ltrun.resampling.effective_number import effective_number_probabilities
from ltrun.resampling.power import power_probabilities
from ltrun.resampling.progressive import progressive_probabilities
from ltrun.resampling.repeat_factor import label_repeat_factors
from ltrun.types import Batch, ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view
from tests.support.draws import COUNTS, END, LABELS, START, chi_square, draw

ACCURACY = torch.tensor([0.95, 0.9, 0.0, 0.8, 0.5, 0.25, 0.1])


def with_accuracy(accuracy: Tensor) -> ClassDifficulty:
    sampler = ClassDifficulty(num_classes=len(accuracy))
    sampler.missed.copy_(80 * (1 - accuracy))
    sampler.seen.fill_(80)
    return sampler


present = COUNTS > 0
EXPECTED: dict[str, tuple[Sampler, Clock, Tensor]] = {
    "drs": (Deferred(then=Power(-1.0)), END, power_probabilities(COUNTS, -1.0)),
    "drs_progressive": (
        Deferred(then=Progressive()),
        Clock("joint", 80, 100),
        progressive_probabilities(COUNTS, Clock("", 80, 100)),
    ),
    "power": (Power(0.25), START, power_probabilities(COUNTS, 0.25)),
    "effective_number": (EffectiveNumber(0.99), START, effective_number_probabilities(COUNTS, 0.99)),
    "curriculum_first": (DynamicCurriculum(), START, COUNTS / COUNTS.sum().double()),
    "curriculum_half": (
        DynamicCurriculum("concave"),
        Clock("joint", 45, 90),
        power_probabilities(COUNTS, curriculum_exponent(0.5, "concave", 0.05)),
    ),
    "difficulty": (
        with_accuracy(ACCURACY),
        START,
        torch.zeros(7, dtype=torch.float64).masked_scatter(
            present, difficulty_probabilities(1 - ACCURACY[present].double(), None, 0.1)
        ),
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_classes_are_drawn_with_their_expected_frequencies(name: str) -> None:
    """Chi-square over 100 epochs of draws; 20.5 is the 0.1 % point for the 5 degrees of freedom of 6 classes with images."""
    sampler, clock, expected = EXPECTED[name]
    rows = torch.cat([draw(sampler, clock, seed) for seed in range(100)])
    assert chi_square(LABELS[rows], expected) < 20.5
    others = [p for _, _, p in EXPECTED.values() if (p - expected).abs().max() > 0.02]
    assert others and all(chi_square(LABELS[rows], other) > 1000 for other in others)  # another distribution would fail


def test_images_repeat_as_often_as_their_repeat_factor() -> None:
    """The whole part of r is certain, the rest a probability: class sums over 100 epochs lie within 4 standard deviations."""
    sampler = RepeatFactor(threshold=None, num_classes=7)
    factors = label_repeat_factors(Labels.hard(LABELS), 1 / 7)
    epochs = [draw(sampler, seed=seed) for seed in range(100)]
    times = torch.stack([torch.bincount(rows, minlength=len(LABELS)) for rows in epochs])
    assert ((times == factors.floor()) | (times == factors.floor() + 1)).all()
    mean = torch.zeros(7, dtype=torch.float64).index_add_(0, LABELS, 100 * factors)
    variance = torch.zeros(7, dtype=torch.float64).index_add_(0, LABELS, 100 * factors.frac() * (1 - factors.frac()))
    seen = torch.zeros(7, dtype=torch.float64).index_add_(0, LABELS, times.sum(0).double())
    assert (variance > 0).sum() >= 4
    assert ((seen - mean).abs() <= 4 * variance.sqrt()).all()
    assert len({len(rows) for rows in epochs}) > 10
    assert not torch.equal(epochs[0], epochs[0].sort().values)  # shuffled


def test_repeat_factors_leave_frequent_classes_alone_and_without_the_root_balance_all_classes() -> None:
    every = RepeatFactor(threshold=0.0001, num_classes=7)
    assert torch.equal(draw(every).sort().values, torch.arange(len(LABELS)))  # nothing is rare: each image once
    equal = label_repeat_factors(Labels.hard(LABELS), 500 / 776, square_root=False)
    mass = torch.zeros(7, dtype=torch.float64).index_add_(0, LABELS, equal)
    torch.testing.assert_close(mass[present], torch.full((6,), 500.0, dtype=torch.float64))  # without the root: equally often
    assert RepeatFactor(threshold=None, num_classes=8).threshold == 1 / 8 == RepeatFactor(num_classes=8).threshold


def test_deferred_switches_once_at_a_fraction_of_the_stage() -> None:
    for epochs, first in ((200, 160), (300, 240), (400, 320), (10, 8), (1, 1)):
        sampler = Deferred(then=Power(0.0))
        permuted = [len(draw(sampler, Clock("joint", epoch, epochs)).unique()) == len(LABELS) for epoch in range(epochs)]
        assert permuted == [epoch < first for epoch in range(epochs)]


def test_deferred_takes_any_sampler() -> None:
    sampler = Deferred(then=Instance(), before=Power(-1.0), start=0.5)
    assert chi_square(LABELS[draw(sampler, START)], power_probabilities(COUNTS, -1.0)) < 20.5
    assert torch.equal(draw(sampler, END), draw(Instance(), END))
    inner = ClassDifficulty(num_classes=7)
    assert inner in Deferred(then=inner).modules()  # a submodule, so the trainer shows it the steps before the switch


@pytest.mark.parametrize("images", [1, 4, 7])
def test_class_aware_takes_classes_and_images_in_turn(images: int) -> None:
    rows = draw(ClassAware(images))
    classes = LABELS[rows]
    turns = classes[::images]
    assert torch.equal(turns.repeat_interleave(images)[: len(rows)], classes)
    rounds = [part.sort().values.tolist() for part in turns.split(6)]
    assert rounds[:-1] == [[0, 1, 3, 4, 5, 6]] * (len(rounds) - 1)  # every class once before any class repeats
    assert len({tuple(part.tolist()) for part in turns.split(6)}) > len(rounds) // 2  # each round in a new order
    for label in (0, 1, 3, 4, 5, 6):
        of_class = LABELS.eq(label).nonzero()[:, 0]
        lists = rows[classes == label].split(len(of_class))
        assert all(torch.equal(part.sort().values, of_class) for part in lists[:-1])  # every image once before any repeats
        assert len(lists[-1].unique()) == len(lists[-1])
        if 1 < len(of_class) < 100:
            assert len({tuple(part.tolist()) for part in lists}) > 1
    assert not torch.equal(draw(ClassAware(images), seed=1), rows)


def test_class_aware_shuffles_the_images_of_a_class_uniformly() -> None:
    """Each of the 8 images of a class comes first equally often: chi-square, 7 degrees of freedom, 0.1 %."""
    of_class = (LABELS == 5).nonzero()[:, 0]
    firsts = torch.cat([(lambda rows: rows[LABELS[rows] == 5][:104:8])(draw(ClassAware(), seed=seed)) for seed in range(60)])
    seen = torch.bincount(firsts, minlength=len(LABELS))[of_class].double()
    assert seen.sum() == 60 * 13
    assert ((seen - seen.mean()) ** 2 / seen.mean()).sum() < 24.3


def step(sampler: ClassDifficulty, logits: Tensor, targets: Labels) -> None:
    batch = Batch(torch.zeros(len(logits), 1, 1, 1), targets, torch.arange(len(logits)))
    sampler.after_step({"main": Outputs(logits=logits)}, {"main": batch})


def adapt(sampler: Sampler, epoch: int) -> None:
    stats = ClassStats(COUNTS)
    sampler.adapt(blind_view(Clock("joint", epoch, 90), stats))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_difficulty_counts_misses_and_images_and_halves_both_after_an_epoch(dtype: torch.dtype) -> None:
    sampler = ClassDifficulty(memory=0.5, num_classes=3)
    logits = torch.eye(3)[torch.tensor([0, 0, 1, 2])].to(dtype)
    step(sampler, logits, Labels.hard(torch.tensor([0, 1, 1, 0])))  # class 2 is absent
    assert sampler.missed.tolist() == [1, 1, 0] and sampler.seen.tolist() == [2, 2, 0]
    adapt(sampler, 1)
    assert sampler.missed.tolist() == [0.5, 0.5, 0] and sampler.seen.tolist() == [1, 1, 0]
    step(sampler, logits[:1], Labels.hard(torch.tensor([0])))  # a batch of one
    assert sampler.missed.tolist() == [0.5, 0.5, 0] and sampler.seen.tolist() == [2, 1, 0]
    assert sampler.missed.dtype == torch.float32
    labels = torch.tensor([0, 1, 2])
    drawn = torch.cat([draw(sampler, labels=labels.repeat(50), seed=seed) for seed in range(50)]) % 3
    assert chi_square(drawn, difficulty_probabilities(torch.tensor([0.25, 0.5, 1.0]), None, 0.1)) < 13.8  # 2 degrees of freedom


def test_difficulty_by_loss_is_relative_to_the_most_difficult_class() -> None:
    """The difficulty of a class is its mean cross-entropy over the largest one, and 1 for a class that has not been seen."""
    sampler = ClassDifficulty("loss", num_classes=4)
    logits = torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
    step(sampler, logits, Labels.hard(torch.tensor([0, 1, 2, 2])))
    adapt(sampler, 1)
    losses = torch.nn.functional.cross_entropy(logits[:3].double(), torch.tensor([0, 1, 2]), reduction="none")
    expected = torch.cat([losses / math.log(4), torch.ones(1, dtype=torch.float64)])  # class 1 has the largest loss, log 4
    torch.testing.assert_close(sampler.difficulty(), expected, rtol=1e-6, atol=0)
    labels = torch.tensor([0, 1, 2, 3])
    drawn = torch.cat([draw(sampler, labels=labels.repeat(50), seed=seed) for seed in range(50)]) % 4
    assert chi_square(drawn, difficulty_probabilities(expected, None, 0.1)) < 16.3  # 3 degrees of freedom
    assert torch.equal(draw(ClassDifficulty("loss", num_classes=7)), draw(ClassDifficulty(num_classes=7)))  # none is seen yet


def test_difficulty_counts_mixed_rows_by_their_shares() -> None:
    sampler = ClassDifficulty(num_classes=3)
    targets = Labels(torch.tensor([[0, 1], [2, 2]]), torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    step(sampler, torch.eye(3)[torch.tensor([1, 2])], targets)
    assert sampler.missed.tolist() == [0.75, 0, 0] and sampler.seen.tolist() == [0.75, 0.25, 1]


def test_difficulty_starts_balanced_and_never_drops_a_class() -> None:
    first = torch.cat([draw(ClassDifficulty(num_classes=7), seed=seed) for seed in range(100)])
    assert chi_square(LABELS[first], power_probabilities(COUNTS, 0.0)) < 20.5
    learnt = with_accuracy(torch.tensor([1.0, 0, 0, 0, 0, 0, 0]))
    assert 0 in LABELS[torch.cat([draw(learnt, seed=seed) for seed in range(100)])]
    for epoch in range(1000):  # the counts of absent classes decay without becoming nan
        adapt(learnt, epoch)
    assert len(draw(learnt)) == len(LABELS)


def test_difficulty_is_in_the_checkpoint() -> None:
    other = ClassDifficulty(num_classes=7)
    other.load_state_dict(with_accuracy(ACCURACY).state_dict())
    assert torch.equal(draw(other), draw(with_accuracy(ACCURACY)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Deferred(then=Instance(), start=1.5), "start must be a fraction"),
        (lambda: ClassAware(0), "images_per_turn must be at least 1"),
        (lambda: EffectiveNumber(1.0), "beta must be"),
        (lambda: RepeatFactor(0.0, num_classes=3), "threshold must be a share"),
        (lambda: DynamicCurriculum(floor=0.0), "floor must be above 0"),
        (lambda: ClassDifficulty(tau=-1.0, num_classes=3), "tau must be null or at least 0"),
        (lambda: ClassDifficulty(memory=1.0, num_classes=3), "memory must be"),
        (lambda: ClassDifficulty(floor=0.0, num_classes=3), "floor must be at least"),
    ],
)
def test_values_that_make_no_sense_are_refused(build: Callable[[], Sampler], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
