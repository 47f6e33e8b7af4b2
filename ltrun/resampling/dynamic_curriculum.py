"""Dynamic curriculum sampling: from instance-balanced to class-balanced, by a power of the counts that falls over a stage."""

import math
from typing import Literal

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.resampling.members import members
from ltrun.resampling.power import draw_rows, power_probabilities
from ltrun.types import Clock, Targets

Schedule = Literal["convex", "linear", "concave", "composite"]


def curriculum_exponent(progress: float, schedule: Schedule, floor: float) -> float:
    """The exponent g(l), from 1 at progress l / L = 0 to 0 (concave: to `floor`) at 1."""
    return {
        "convex": math.cos(progress * math.pi / 2),  # slow, then fast
        "linear": 1 - progress,
        "concave": floor**progress,  # fast, then slow
        "composite": (math.cos(progress * math.pi) + 1) / 2,  # slow, fast, slow
    }[schedule]


class DynamicCurriculum(Sampler):
    """DCL's sampling scheduler: classes are drawn in proportion to n_c ** g(l), with g falling from 1 to 0 over the stage.

    The schedules have the paper's names: it calls the cosine, a concave function, convex, and finds it best. Its concave
    schedule is lambda ** l with l in epochs; here it is floor ** (l / L), the same with floor = lambda ** L, so that it
    scales with the length of the stage. l / L is epochs begun over all epochs, so the last epoch is nearly balanced.

    The paper reaches the target distribution D ** g(l) within a batch: it drops images of classes with too many images in the
    batch and gives the others larger weights. Drawing from the target distribution gives each class the same expected share
    of the loss without weights. DCL's triplet loss and its loss scheduler are left out. An epoch has len(targets) rows, drawn
    with replacement; of rows with several labels as by `Power`.

    Wang et al., 2019, arXiv 1901.06783.
    """

    accepts = BOTH
    balances = True
    acts_from = 1

    def __init__(self, schedule: Schedule = "convex", floor: float = 0.05):
        super().__init__()
        if not 0 < floor < 1:
            raise ConfigError(f"floor must be above 0 and below 1, got {floor}")
        self.schedule, self.floor = schedule, floor

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        rows, classes = members(targets, generator)
        exponent = curriculum_exponent(clock.progress, self.schedule, self.floor)
        return rows[draw_rows(classes, power_probabilities(torch.bincount(classes), exponent), len(targets), generator)]
