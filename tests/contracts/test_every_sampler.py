"""Every sampler draws by its formula, from its generator alone, without a loop over classes or images."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from ltrun.contracts import samplers
from ltrun.contracts.samplers import COUNTS, LABELS, draw, sampler_of
from ltrun.contracts.stand_ins import FIRST, LAST, several
from ltrun.metrics import MULTI_LABEL
from ltrun.types import ClassStats, Clock
from tests.support.cases import OPTIONS, choice, of_each_task
from tests.support.draws import chi_square

PRESENT = [n for n in COUNTS if n]


def shares(weight: Callable[[int], float]) -> list[float]:
    """Returns the share of each class, by the weight of a class of n images; 0 for a class without images."""
    weights = [weight(n) if n else 0.0 for n in COUNTS]
    return [w / sum(weights) for w in weights]


as_they_come, balanced = shares(lambda n: n), shares(lambda n: 1)
# The share of each class in the first epoch and in the last, by the published formula, in plain Python.
FORMULAE: dict[str, tuple[list[float], list[float]]] = {
    "head_classes": (shares(lambda n: n * (n >= 180)),) * 2,  # a third class would have them own more than 90 % of the images
    "instance": (as_they_come, as_they_come),
    "class_aware": (balanced, balanced),
    "class_balanced": (balanced, balanced),
    "class_difficulty": (balanced, balanced),  # before the first epoch all classes are equally difficult
    "drs": (as_they_come, balanced),
    "dynamic_curriculum": (as_they_come, shares(lambda n: n ** math.cos(math.pi / 2 * 199 / 200))),
    "effective_number": (shares(lambda n: n / sum(0.9999**k for k in range(n))),) * 2,
    "meta": (as_they_come, as_they_come),  # before its rates have changed
    "power": (shares(lambda n: n**0.25),) * 2,
    "progressively_balanced": (as_they_come, balanced),
    "repeat_factor": (shares(lambda n: n * max(1.0, math.sqrt(776 / 7 / n))),) * 2,
    "reversed": (shares(lambda n: 1 / n),) * 2,
    "shot_group": (shares(lambda n: n * (n > 100)),) * 2,
    "square_root": (shares(lambda n: math.sqrt(n)),) * 2,
}
OF_SEVERAL = several(LABELS, len(COUNTS))  # labels of each row
IN_ROWS = OF_SEVERAL.sum(0).double()  # rows with each class
MASKED = {"class_balanced_masked": (IN_ROWS > 0).double(), "square_root_masked": IN_ROWS.sqrt()}  # for rows with several labels


def test_every_sampler_has_a_formula_in_the_table() -> None:
    assert FORMULAE.keys() | MASKED.keys() == set(OPTIONS["resampling"])


@pytest.mark.parametrize("option", MASKED)
def test_a_row_is_drawn_for_one_of_its_labels_by_the_formula(option: str) -> None:
    sampler = sampler_of(choice("resampling", option), ClassStats(IN_ROWS.long(), rows=len(LABELS)))
    rows = torch.cat([draw(sampler, FIRST, seed=seed, task=MULTI_LABEL) for seed in range(60)])
    assert OF_SEVERAL[rows[:, 0], rows[:, 1]].all()
    expected, other = (MASKED[name] / MASKED[name].sum() for name in (option, *(MASKED.keys() - {option})))
    assert chi_square(rows[:, 1], expected) < 20.5 < 500 < chi_square(rows[:, 1], other)


@pytest.mark.parametrize("option", FORMULAE)
def test_class_frequencies_follow_the_formula(option: str) -> None:
    """Chi-square of 60 epochs, with the numbers of the YAML; 20.5 is the 0.1 % point for 5 degrees of freedom."""
    sampler = sampler_of(choice("resampling", option), ClassStats(torch.tensor(COUNTS)))
    for clock, formula in zip((FIRST, LAST), FORMULAE[option], strict=True):
        rows = torch.cat([draw(sampler, clock, seed=seed) for seed in range(60)])
        assert rows.dtype == torch.int64 and rows.min() >= 0 and rows.max() < len(LABELS)
        expected = torch.tensor(formula, dtype=torch.float64)
        assert chi_square(LABELS[rows], expected) < 20.5
        others = [torch.tensor(other, dtype=torch.float64) for pair in FORMULAE.values() for other in pair]
        far = [other for other in others if (other - expected).abs().max() > 0.02 and other[expected > 0].all()]
        assert len(far) > 6 and all(chi_square(LABELS[rows], other) > 500 for other in far)  # the test can fail


@pytest.mark.parametrize("clock", [FIRST, LAST], ids=["first", "last"])
@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_a_draw_depends_on_its_generator_alone(option: str, clock: Clock) -> None:
    for each in of_each_task("resampling", option):
        samplers.draws_by_its_generator(each, clock)


@pytest.mark.parametrize("option", OPTIONS["resampling"])
def test_drawing_takes_no_loop_over_classes_or_images(option: str) -> None:
    for each in of_each_task("resampling", option):
        samplers.draws_without_a_loop(each)
