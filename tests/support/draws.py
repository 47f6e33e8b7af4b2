"""Labels of a long tail, and the chi-square statistic of a draw from them."""

import torch
from torch import Tensor

from ltrun.parts import Sampler
from ltrun.types import Clock, Labels

COUNTS = torch.tensor([500, 180, 0, 64, 23, 8, 1])  # class 2 has no image, class 6 has one
LABELS = torch.arange(7).repeat_interleave(COUNTS)[torch.randperm(776, generator=torch.Generator().manual_seed(0))]
START, END = Clock("joint", 0, 90), Clock("joint", 89, 90)


def draw(sampler: Sampler, clock: Clock = START, seed: int = 0, labels: Tensor = LABELS) -> Tensor:
    return sampler.draw(Labels.hard(labels), clock, torch.Generator().manual_seed(seed))


def chi_square(labels: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * len(labels)
    seen = torch.bincount(labels, minlength=len(expected))
    present = expected > 0
    assert not seen[~present].any()
    return float(((seen - expected)[present] ** 2 / expected[present]).sum())
