"""Samplers: rows of the training set, class frequencies, degenerate training sets, label columns."""

from collections.abc import Callable

import pytest
import torch

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
from ltrun.resampling.power import power_probabilities
from ltrun.resampling.progressive import progressive_probabilities
from ltrun.types import Clock, Labels
from tests.support.draws import COUNTS, END, LABELS, START, draw

SAMPLERS: dict[str, Callable[[int], Sampler]] = {  # built for a number of classes
    "instance": lambda classes: Instance(),
    "class_balanced": lambda classes: Power(0.0),
    "square_root": lambda classes: Power(0.5),
    "reversed": lambda classes: Power(-1.0),
    "power_one": lambda classes: Power(1.0),
    "progressive": lambda classes: Progressive(),
    "drs": lambda classes: Deferred(then=Power(0.0)),
    "class_aware": lambda classes: ClassAware(),
    "effective_number": lambda classes: EffectiveNumber(),
    "repeat_factor": lambda classes: RepeatFactor(threshold=None, num_classes=classes),
    "dynamic_curriculum": lambda classes: DynamicCurriculum(),
    "class_difficulty": lambda classes: ClassDifficulty(num_classes=classes),
}
EXPECTED = {
    "class_balanced": power_probabilities(COUNTS, 0.0),
    "square_root": power_probabilities(COUNTS, 0.5),
    "reversed": power_probabilities(COUNTS, -1.0),
    "power_one": COUNTS / COUNTS.sum().double(),
    "progressive": progressive_probabilities(COUNTS, END),
}


@pytest.mark.parametrize("clock", [START, END], ids=["start", "end"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_an_epoch_consists_of_rows_of_the_training_set(name: str, clock: Clock) -> None:
    rows = draw(SAMPLERS[name](7), clock)
    assert rows.dtype == torch.int64 and rows.min() >= 0 and rows.max() < len(LABELS)
    assert 2 not in LABELS[rows]
    assert rows.shape == (len(LABELS),) or (name == "repeat_factor" and len(rows) > len(LABELS))


def test_instance_sampling_is_a_permutation() -> None:
    assert torch.equal(draw(Instance()).sort().values, torch.arange(len(LABELS)))


def test_rows_within_a_class_are_equally_likely() -> None:
    rows = torch.cat([draw(Power(0.0), seed=seed) for seed in range(200)])
    of_class = (LABELS == 4).nonzero()[:, 0]
    seen = torch.bincount(rows, minlength=len(LABELS))[of_class].double()
    assert len(of_class) == 23 and (seen > 0).all()
    assert ((seen - seen.mean()) ** 2 / seen.mean()).sum() < 48.3  # chi-square, 22 degrees of freedom, 0.1 %


def test_progressive_moves_from_instance_to_class_balanced_sampling() -> None:
    first, middle, last = (progressive_probabilities(COUNTS, Clock("joint", epoch, 3)) for epoch in range(3))
    torch.testing.assert_close(first, EXPECTED["power_one"])
    torch.testing.assert_close(last, EXPECTED["class_balanced"])
    torch.testing.assert_close(middle, (first + last) / 2)
    torch.testing.assert_close(progressive_probabilities(COUNTS, Clock("joint", 0, 1)), first)  # one epoch gives no nan


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_training_set_of_one_image_or_one_class_can_be_sampled(name: str) -> None:
    for clock in (START, END, Clock("joint", 0, 1)):
        assert set(draw(SAMPLERS[name](4), clock, labels=torch.tensor([3])).tolist()) == {0}  # one image, of one class of four
        assert set(draw(SAMPLERS[name](4), clock, labels=torch.tensor([1, 1, 1])).tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("name", SAMPLERS)
def test_two_equal_label_columns_count_as_one(name: str) -> None:
    hard, generator = Labels.hard(LABELS), torch.Generator()
    columns = Labels(torch.stack([LABELS, LABELS], 1), torch.tensor([0.5, 0.5]).expand(len(LABELS), 2))
    rows = [SAMPLERS[name](7).draw(targets, END, generator.manual_seed(0)) for targets in (hard, columns)]
    assert torch.equal(*rows)


def test_all_samplers_but_instance_and_deferred_counter_the_prior() -> None:
    assert {name for name, sampler in SAMPLERS.items() if not sampler(7).balances} == {"instance", "drs"}, (
        "drs leaves this to its `then`"
    )
