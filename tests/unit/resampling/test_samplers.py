"""What every sampler keeps to: rows of the training set, a function of the generator alone, the promised frequencies."""

import pytest
import torch
from torch import Tensor

from ltrun.parts import Sampler
from ltrun.resampling import Instance, Power, Progressive
from ltrun.resampling.power import power_probabilities
from ltrun.resampling.progressive import progressive_probabilities
from ltrun.types import Clock, Labels

COUNTS = torch.tensor([500, 180, 0, 64, 23, 8, 1])  # class 2 has no image, class 6 has one
LABELS = torch.arange(7).repeat_interleave(COUNTS)[torch.randperm(776, generator=torch.Generator().manual_seed(0))]
START, END = Clock("joint", 0, 90), Clock("joint", 89, 90)
SAMPLERS = {
    "instance": Instance(),
    "class_balanced": Power(0.0),
    "square_root": Power(0.5),
    "reversed": Power(-1.0),
    "power_one": Power(1.0),
    "progressive": Progressive(),
}
EXPECTED = {
    "class_balanced": power_probabilities(COUNTS, 0.0),
    "square_root": power_probabilities(COUNTS, 0.5),
    "reversed": power_probabilities(COUNTS, -1.0),
    "power_one": COUNTS / COUNTS.sum().double(),
    "progressive": progressive_probabilities(COUNTS, END),
}


def draw(sampler: Sampler, clock: Clock = START, seed: int = 0, labels: Tensor = LABELS) -> Tensor:
    return sampler.draw(Labels.hard(labels), clock, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_epoch_is_rows_of_the_training_set(name: str) -> None:
    rows = draw(SAMPLERS[name])
    assert rows.shape == (len(LABELS),) and rows.dtype == torch.int64
    assert rows.min() >= 0 and rows.max() < len(LABELS)
    assert 2 not in LABELS[rows]


def test_instance_sampling_is_a_permutation() -> None:
    assert torch.equal(draw(SAMPLERS["instance"]).sort().values, torch.arange(len(LABELS)))


def chi_square(labels: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * len(labels)
    seen = torch.bincount(labels, minlength=len(expected))
    present = expected > 0
    assert not seen[~present].any()
    return float(((seen - expected)[present] ** 2 / expected[present]).sum())


def test_rows_within_a_class_are_equally_likely() -> None:
    rows = torch.cat([draw(SAMPLERS["class_balanced"], seed=seed) for seed in range(200)])
    of_class = (LABELS == 4).nonzero()[:, 0]
    seen = torch.bincount(rows, minlength=len(LABELS))[of_class].double()
    assert len(of_class) == 23 and (seen > 0).all()
    assert ((seen - seen.mean()) ** 2 / seen.mean()).sum() < 48.3  # chi-square, 22 degrees of freedom, 0.1 %


def test_progressive_moves_from_counts_to_balance() -> None:
    first, middle, last = (progressive_probabilities(COUNTS, Clock("joint", epoch, 3)) for epoch in range(3))
    torch.testing.assert_close(first, EXPECTED["power_one"])
    torch.testing.assert_close(last, EXPECTED["class_balanced"])
    torch.testing.assert_close(middle, (first + last) / 2)
    torch.testing.assert_close(progressive_probabilities(COUNTS, Clock("joint", 0, 1)), first)  # not nan


@pytest.mark.parametrize("name", SAMPLERS)
def test_degenerate_training_sets(name: str) -> None:
    assert draw(SAMPLERS[name], labels=torch.tensor([3])).tolist() == [0]  # one image, and only class 3 of four
    assert set(draw(SAMPLERS[name], labels=torch.tensor([1, 1, 1])).tolist()) <= {0, 1, 2}


def test_balances_says_who_counters_the_prior() -> None:
    assert not Instance.balances and Power.balances and Progressive.balances
