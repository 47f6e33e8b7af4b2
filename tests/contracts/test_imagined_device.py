"""Everything that runs on a GPU, on an imagined one: results are those of the CPU, and captured steps those of plain ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from core_cases import METHODS, bound, composed, differing, digits, normaliser, small, snapshot, trainer
from imagined import DEVICE, Imagined, imagined_cuda

from ltrun.data import Resident
from ltrun.precision import Precision

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device")


def on_device(composition: Any, folder: Path, **more: Any) -> dict[str, torch.Tensor]:
    """The state of a network that was trained there, each step captured and replayed."""
    train, _ = digits()
    with imagined_cuda():
        store = Resident(train.images.to(DEVICE), train.targets.to(DEVICE))
        settings = {
            "device": DEVICE, "train_set": store, "normalise": normaliser().to(DEVICE), "precision": Precision("fp32", DEVICE),
            "evaluate": lambda network: {"val": {"accuracy": 0.0}},
        }  # fmt: skip
        state = snapshot(trainer(bound(composition), folder, **(settings | more)).run())
        assert all(isinstance(tensor, Imagined) for tensor in state.values())
        return {name: tensor.cpu() for name, tensor in state.items()}


@pytest.mark.parametrize("method", METHODS)
def test_a_captured_step_has_the_bits_of_a_step_on_the_host(method: str, tmp_path: Path) -> None:
    composition = small(composed(f"method={method}"), epochs=6)
    plain = snapshot(trainer(bound(composition), tmp_path / "host", evaluate=lambda network: {"val": {"accuracy": 0.0}}).run())
    assert not differing(on_device(composition, tmp_path / "device"), plain)
