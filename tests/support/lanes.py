"""Runs that share the imagined CUDA device, in a thread each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from torch import Tensor

from ltrun.contracts.device import on_device
from ltrun.contracts.imagined import Mode, imagined_cuda
from ltrun.engine.turns import Turns
from ltrun.recipe.stage import Recipe


def in_lanes(recipes: Mapping[str, Recipe], folder: Path, **more: Any) -> dict[str, dict[str, Tensor]]:
    """Trains recipes at once. Returns name -> the state of the trained network. more: arguments of `on_device`."""
    found: dict[str, dict[str, Tensor]] = {}

    def lane(turns: Turns, name: str) -> None:
        with Mode(), turns.taken_by_a_run():
            found[name] = on_device(recipes[name], folder / name, **more)

    with imagined_cuda():
        turns = Turns()
        threads = [Thread(target=lane, args=(turns, name)) for name in recipes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found
