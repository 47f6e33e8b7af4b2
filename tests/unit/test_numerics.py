"""Numbers of a part's output: whether all are finite, and the largest."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.numerics import finite, largest
from ltrun.types import Batch, Labels

INF, NAN = math.inf, math.nan


def streams(*inputs: Tensor) -> dict[str, Batch]:
    labels = Labels.hard(torch.zeros(1, dtype=torch.int64))
    return {str(i): Batch(one, labels, torch.zeros(1, dtype=torch.int64)) for i, one in enumerate(inputs)}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1.0, -2.0], True),
        ([3e38, -INF], True),
        ([-INF, -INF], True),
        ([1.0, INF], False),
        ([NAN, 1.0], False),
        ([1.0, NAN, INF], False),
        ([-INF, NAN], False),
    ],
)
def test_only_nan_and_infinity_are_not_finite(numbers: list[float], expected: bool) -> None:
    there, fine = torch.tensor(numbers), torch.ones(2)
    outputs: list[Any] = [there, [fine, there], (streams(fine, there))]
    for output in outputs:
        found = finite(output)
        assert found is not None and found.dtype == torch.bool and bool(found) is expected


@pytest.mark.parametrize("part", [1j, complex(0, NAN), complex(-INF, 1)])
def test_complex_numbers_are_finite_if_both_parts_are(part: complex) -> None:
    found = finite(torch.tensor([part, 1.0]))
    assert found is not None and bool(found) is (part == 1j)


@pytest.mark.parametrize("output", [None, 3.0, torch.zeros(0), [], {}, [None]])
def test_an_output_without_numbers_is_neither(output: object) -> None:
    assert finite(output) is None and largest(output) is None


def test_the_largest_number_has_no_gradient() -> None:
    found = largest(torch.ones(3, requires_grad=True))
    assert found is not None and not found.requires_grad
