"""What every option of class re-balancing keeps to, whichever parts it has: walks conf/, so that a new one is held to it too.

Single and half precision, a class absent from the batch, a batch of one, a class with one image and one with none, and 8,142
classes at as many tensor operations as three.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.cases import OPTIONS, Count
from tests.support.rebalancing import BATCHES, DTYPES, FIRST, INATURALIST, LAST, SMALL, STATS, loss_of, outputs_of, tail


def cases(*slots: str) -> list[Any]:
    found = [(slot, option) for slot in slots for option in OPTIONS[slot] if option != "none"]
    return [pytest.param(slot, option, id=f"{slot}={option}") for slot, option in found]


LOSSES = cases("resampling", "reweighting", "margin", "logit_adjustment")  # re-sampling: the meta sampler weighs too


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_loss_gradient_and_state_stay_finite(slot: str, option: str, dtype: torch.dtype) -> None:
    part = loss_of(slot, option, STATS)
    for clock in (FIRST, LAST):
        part.adapt(clock)
        for name, labels in BATCHES.items():
            outputs = outputs_of(len(labels), 5, dtype)
            assert outputs.logits is not None
            loss = part(outputs, labels)
            loss.backward()
            gradient = outputs.logits.grad
            assert loss.isfinite(), name
            assert gradient is not None and gradient.isfinite().all() and gradient.any(), name
            for name_of_state, parameter in part.named_parameters():
                assert parameter.grad is None or parameter.grad.isfinite().all(), name_of_state
            part.after_step(outputs, labels)
            assert all(tensor.isfinite().all() for tensor in part.state_dict().values()), name


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_half_precision_is_near_single(slot: str, option: str) -> None:
    """bfloat16 keeps 8 bits: what comes out must not be another loss, as a margin would be that is rounded away."""
    found = []
    for dtype in DTYPES:
        part, labels = loss_of(slot, option, STATS), [0, 1, 2, 3, 3, 0, 0, 1]
        part.adapt(LAST)
        torch.manual_seed(0)
        found.append(part(outputs_of(len(labels), 5, dtype), labels).item())
    assert found[1] == pytest.approx(found[0], rel=0.03, abs=0.03)


@pytest.mark.parametrize(("slot", "option"), LOSSES)
def test_thousands_of_classes_take_no_loop(slot: str, option: str) -> None:
    """Building, an epoch's beginning, a step with its gradient, what follows it."""
    calls = []
    for classes in (SMALL, INATURALIST):
        labels, stats = [0, 1, 2, 0, 1, classes - 1], tail(classes)
        outputs = outputs_of(len(labels), classes)
        with Count() as count:
            part = loss_of(slot, option, stats)
            part.adapt(LAST)
            loss = part(outputs, labels)
            loss.backward()
            part.after_step(outputs, labels)
        assert loss.isfinite()
        calls.append(count.calls)
    assert calls[0] == calls[1]
