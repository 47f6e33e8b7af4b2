"""Trainings of a configuration that are stopped in every epoch and resume; see ltrun.contracts.presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltrun.contracts import presets
from ltrun.contracts.presets import Fragile, Stop, comparable
from ltrun.engine.stage import Row
from ltrun.parts import Network
from tests.support.cases import Composed, bound

__all__ = ["Fragile", "Stop", "comparable", "stopped_at_every_epoch", "trained"]


def trained(composition: Composed, folder: Path, seed: int = 0, **changes: Any) -> tuple[Network, list[Row]]:
    return presets.trained(bound(composition), folder, seed, **changes)


def stopped_at_every_epoch(composition: Composed, folder: Path, report: bool, **changes: Any) -> tuple[Network, list[Row]]:
    return presets.stopped_at_every_epoch(bound(composition), folder, report, **changes)
