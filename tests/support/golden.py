"""How golden tests take the cases of a reference file: every one, or by name the ones left out and why."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Golden = Callable[[str], dict[str, Any]]


@contextmanager
def every_case(data: dict[str, Any], left_out: Mapping[str, str]) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Yields case name -> case; on leaving, fails unless each case was taken or is in `left_out` (name -> reason)."""
    cases = {case["name"]: case for case in data["cases"]}
    taken: set[str] = set()

    def take(name: str) -> dict[str, Any]:
        taken.add(name)
        return cases[name]

    yield take
    assert taken | set(left_out) == set(cases), "each case is covered or left out by name"
    assert not taken & set(left_out), "a case that is covered is not left out"


def close(actual: Tensor, expected: Any, rtol: float) -> None:
    """Within rtol of each entry, or of the largest one."""
    reference = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.detach().double(), reference, rtol=rtol, atol=rtol * float(reference.abs().max()))
