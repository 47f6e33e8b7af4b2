"""Trainings that are stopped in every epoch, and what they must agree in with a whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.stage import Row
from ltrun.parts import Network
from tests.support.cases import Composed, bound, trainer


class Stop(Exception):
    """The process ends here."""


class Fragile(Checkpoints):
    """Stops the process right after it saved."""

    def save(self, name: str, state: dict[str, Any]) -> None:
        super().save(name, state)
        raise Stop


def trained(composition: Composed, folder: Path, seed: int = 0, **changes: Any) -> tuple[Network, list[Row]]:
    rows: list[Row] = []
    network = trainer(bound(composition), folder, report=rows.append, seed=seed, **changes).run()
    return network, rows


def stopped_at_every_epoch(composition: Composed, folder: Path, report: bool, **changes: Any) -> tuple[Network, list[Row]]:
    """Stops after each checkpoint, or (`report`) once in each epoch just before its checkpoint is written."""
    rows: list[Row] = []
    stops = 0

    def tell(row: Row) -> None:
        if report and (not rows or (rows[-1]["stage"], rows[-1]["epoch"]) != (row["stage"], row["epoch"])):
            rows.append(row)
            raise Stop
        if report:
            rows.pop()
        rows.append(row)

    for _ in range(20):
        checkpoints = Checkpoints(folder) if report else Fragile(folder)
        try:
            network = trainer(bound(composition), folder, report=tell, checkpoints=checkpoints, **changes).run()
        except Stop:
            stops += 1
            continue
        assert stops == len(rows), "it was not stopped in every epoch"
        return network, rows
    pytest.fail("it begins anew every time")


def comparable(rows: list[Row]) -> list[Row]:
    """Without what is measured by the clock."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]
