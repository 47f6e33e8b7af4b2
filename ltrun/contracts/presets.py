"""Contracts of presets: no warning, a run that resumes bit for bit after any stop, and another run for another seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.library import Choice, small
from ltrun.contracts.training import within
from ltrun.contracts.trial import CPU, differing, snapshot, some_of, trainer
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.stage import Row
from ltrun.parts import Network
from ltrun.recipe.stage import Recipe

LEAST_EPOCHS = 40
TRIES = 20  # more than the epochs of a trial


def of_a_preset(choice: Choice) -> Iterator[Contract]:
    """Yields the contracts of a preset, besides those of its file and of its training."""
    library = choice.library
    yield Contract("it composes without a warning", lambda: binds_without_a_warning(choice))
    yield Contract(
        "a run stopped after every checkpoint ends bit for bit as a run that was not stopped",
        within(lambda folder: resumes(library.bound(small(choice.composition)), folder)),
    )
    yield Contract(
        "two seeds give two different runs",
        within(lambda folder: follows_its_seed(library.bound(small(choice.composition, epochs=1)), folder)),
    )


def binds_without_a_warning(choice: Choice) -> None:
    """Checks that the preset composes without a warning, and leaves the number of epochs to the data set."""
    recipe = choice.recipe
    require(not recipe.warnings, f"{choice.word} has a warning: {'; '.join(recipe.warnings)}")
    epochs = sum(stage.epochs for stage in recipe.stages)
    require(
        epochs >= LEAST_EPOCHS,
        f"{choice.word} trains {epochs} epochs on digits, which needs {LEAST_EPOCHS}; remove 'epochs', which data sets set",
    )


class Stop(Exception):
    """Stands for the end of the process."""


class Fragile(Checkpoints):
    """Checkpoints that stop the run after each save."""

    def save(self, name: str, state: dict[str, Any]) -> None:
        super().save(name, state)
        raise Stop


def trained(recipe: Recipe, folder: Path, seed: int = 0, **changes: Any) -> tuple[Network, list[Row]]:
    rows: list[Row] = []
    network = trainer(recipe, folder, report=rows.append, seed=seed, **changes).run()
    return network, rows


def stopped_at_every_epoch(recipe: Recipe, folder: Path, report: bool, **changes: Any) -> tuple[Network, list[Row]]:
    """Trains with a stop after each checkpoint, or, with `report`, with one stop in each epoch just before its checkpoint."""
    rows: list[Row] = []
    stops = 0

    def tell(row: Row) -> None:
        if report and (not rows or (rows[-1]["stage"], rows[-1]["epoch"]) != (row["stage"], row["epoch"])):
            rows.append(row)
            raise Stop
        if report:
            rows.pop()
        rows.append(row)

    for _ in range(TRIES):
        checkpoints = Checkpoints(folder) if report else Fragile(folder)
        try:
            network = trainer(recipe, folder, report=tell, checkpoints=checkpoints, **changes).run()
        except Stop:
            stops += 1
            continue
        require(stops == len(rows), "the trial did not stop in every epoch")
        return network, rows
    raise BrokenContract("a stopped run starts from the first epoch again, every time")


def comparable(rows: list[Row]) -> list[Row]:
    """Returns the rows without their times."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def resumes(recipe: Recipe, folder: Path) -> None:
    """Checks that a run stopped after every checkpoint ends with the state, losses and checkpoint of an unstopped run."""
    whole, rows = trained(recipe, folder / "whole")
    broken, again = stopped_at_every_epoch(recipe, folder / "broken", report=False)
    way = "keep values that change in self.register_buffer, and draw random numbers from torch's default generator"
    named = differing(snapshot(whole), snapshot(broken))
    require(not named, f"{some_of(named)}: a stopped and resumed run ends with other values; {way}")
    require(comparable(rows) == comparable(again), f"a stopped and resumed run has other losses; {way}")
    states = [_last_state(each) for each in (folder / "whole", folder / "broken")]
    require(same(*states), f"a stopped and resumed run ends with another checkpoint; {way}")


def follows_its_seed(recipe: Recipe, folder: Path) -> None:
    """Checks that two seeds give two different runs; `resumes` checks that one seed gives one."""
    (first, rows), (second, others) = (trained(recipe, folder / str(seed), seed=seed) for seed in (5, 6))
    different = differing(snapshot(first), snapshot(second)) and comparable(rows) != comparable(others)
    require(different, "two seeds give the same run; set no seed of your own, such as torch.manual_seed(0)")


def _last_state(folder: Path) -> dict[str, Any]:
    def warn(sentence: str) -> None:
        raise BrokenContract(f"the checkpoint of a trial run is damaged: {sentence}")

    found = Checkpoints(folder).load(CPU, warn)
    assert found is not None
    del found["seconds"]
    return found


def same(first: Any, second: Any) -> bool:
    """Whether two values are bit-equal; compares dicts, lists and tuples item by item."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
