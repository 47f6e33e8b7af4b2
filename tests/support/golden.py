"""Reference files of golden tests: reading them, taking each case or naming it as left out, comparing values."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ltrun.loss import Classification
from ltrun.parts import Adjust, Criterion, Weigh
from ltrun.types import ClassStats, Clock, Labels, Outputs
from tests.support.cases import blind_view

Golden = Callable[[str], dict[str, Any]]
COUNTS = torch.tensor([500, 299, 179, 107, 64, 38, 23, 13, 8, 5])  # the counts of every file; `read` checks them
STATS = ClassStats(COUNTS)
STEP = 1e-6  # of difference quotients


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
    """Asserts that values differ by at most rtol of each entry, or of the largest one."""
    reference = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual.detach().double(), reference, rtol=rtol, atol=rtol * float(reference.abs().max()))


def read(golden: Golden, name: str) -> tuple[dict[str, Any], dict[str, Any], Tensor]:
    """Reads a reference file. Returns it with its inputs and its labels."""
    data = golden(name)
    assert data["inputs"]["cls_num_list"] == COUNTS.tolist()
    return data, data["inputs"], torch.tensor(data["inputs"]["labels"])


def agree(
    outputs: Mapping[str, Any],
    inputs: Any,
    pure: Callable[[Tensor], Tensor],
    composed: Callable[[Tensor], Tensor] | None = None,
    loss: str = "loss",
    gradient: str | None = None,
) -> None:
    """Compares loss and gradient: of the pure function in float64 and float32, of the composed options in float32."""
    gradient = gradient or next(key for key in outputs if key.startswith("grad_"))
    runs = [(pure, torch.float64, 1e-9), (pure, torch.float32, 2e-5)]
    for function, dtype, rtol in [*runs, *([(composed, torch.float32, 2e-5)] if composed else [])]:
        x = torch.tensor(inputs, dtype=dtype, requires_grad=True)
        value = function(x)
        assert value.item() == pytest.approx(outputs[loss], rel=rtol)
        if gradient in outputs:
            close(torch.autograd.grad(value, x)[0], outputs[gradient], rtol)


def weighted(losses: Tensor, weights: Tensor, mean: str = "weights") -> Tensor:
    weights = weights.to(losses.dtype)
    return (weights * losses).sum() / (weights.sum() if mean == "weights" else len(losses))


def compose(
    labels: Tensor,
    adjusts: Sequence[Adjust] = (),
    weighs: Sequence[Weigh] = (),
    criterion: Criterion | None = None,
    scale: float = 1.0,
) -> Callable[[Tensor], Tensor]:
    """Returns the loss of a run with the options, as the trainer composes it; its input is logits / scale."""
    classification = Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)

    def loss(x: Tensor) -> Tensor:
        return classification.loss(scale * x, Labels.hard(labels), Outputs(logits=scale * x, scale=scale))

    return loss


def at_epoch(part: Weigh, epoch: int, epochs: int = 200) -> Weigh:
    part.adapt(blind_view(Clock("joint", epoch, epochs), STATS))
    return part


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def near(found: Tensor, expected: Any, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(found.detach().double().numpy(), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def slope(function: Any, x: np.ndarray) -> np.ndarray:
    """The difference quotients of a function of x, in float64."""
    found = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[place] = STEP
        found[place] = (function(x + step) - function(x - step)) / (2 * STEP)
    return found
