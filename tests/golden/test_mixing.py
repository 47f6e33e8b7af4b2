"""The loss of mixed labels, as weighted label columns, against recorded values of Remix."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltrun.loss import Classification
from ltrun.types import Labels, Outputs

# Left out: the truth tables of Remix's rule for the label that a mixed image keeps, because ltrun has no Remix; and the QUIRK
# case, which combines the shares of the rows with a loss averaged over the batch and so loses the pairing of both.
CASES = ["remix loss, lambda_x=0.8"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "loss_rtol", "grad_atol"), [(torch.float64, 1e-9, 1e-9), (torch.float32, 2e-5, 2e-5)])
def test_mixed_labels_give_the_mixed_loss(
    golden: Callable[[str], dict[str, Any]], name: str, dtype: torch.dtype, loss_rtol: float, grad_atol: float
) -> None:
    data = golden("remix")
    case = next(case for case in data["cases"] if case["name"] == name)
    arrays = {role: torch.tensor(data["inputs"][array]) for role, array in case["inputs"].items()}
    logits = torch.tensor(data["inputs"][case["inputs"]["pred"]], dtype=dtype, requires_grad=True)
    keep = torch.tensor(case["outputs"]["lambda_y"], dtype=dtype)
    targets = Labels.hard(arrays["y_a"]).mix(Labels.hard(arrays["y_b"]), keep)
    loss = Classification().loss(logits, targets, Outputs(logits=logits))
    loss.backward()
    expected = torch.tensor(case["outputs"]["grad_logits"], dtype=dtype)
    torch.testing.assert_close(loss.item(), case["outputs"]["loss"], rtol=loss_rtol, atol=0)
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=grad_atol * float(expected.abs().max()))


def test_every_case_is_driven_or_left_out(golden: Callable[[str], dict[str, Any]]) -> None:
    left_out = ("truth table", "QUIRK")
    assert [case["name"] for case in golden("remix")["cases"] if not case["name"].startswith(left_out)] == CASES
