"""Every preset ends bit-equal when it is stopped after every checkpoint; another seed is another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.engine.checkpoint import Checkpoints
from tests.support.cases import CPU, METHODS, composed, differing, small, snapshot
from tests.support.checkpoints import never
from tests.support.interrupted import comparable, stopped_at_every_epoch, trained


@pytest.mark.parametrize("method", METHODS)
def test_every_preset_ends_bit_equal_when_stopped_after_every_checkpoint(method: str, tmp_path: Path) -> None:
    composition = small(composed(f"method={method}"))
    (whole, rows), (broken, again) = (
        trained(composition, tmp_path / "whole"),
        stopped_at_every_epoch(composition, tmp_path / "broken", report=False),
    )
    assert differing(snapshot(whole), snapshot(broken)) == set()
    assert comparable(rows) == comparable(again)
    assert same(last_state(tmp_path / "whole"), last_state(tmp_path / "broken"))


@pytest.mark.parametrize("method", METHODS)
def test_another_seed_is_another_run(method: str, tmp_path: Path) -> None:
    """The same seed is bit-equal, as the test above has it."""
    composition = small(composed(f"method={method}"), epochs=1)
    (first, rows), (second, others) = (trained(composition, tmp_path / str(seed), seed=seed) for seed in (5, 6))
    assert differing(snapshot(first), snapshot(second)) and comparable(rows) != comparable(others)


def last_state(folder: Path) -> dict[str, Any]:
    found = Checkpoints(folder).load(CPU, never)
    assert found is not None
    del found["seconds"]
    return found


def same(first: Any, second: Any) -> bool:
    """Bit-equal, whatever is nested in what."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
