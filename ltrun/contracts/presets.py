"""What a preset keeps to: it binds without a warning, and its run, stopped anywhere, ends as a whole one does."""

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
TRIES = 20  # more than a trial has epochs


def of_a_preset(choice: Choice) -> Iterator[Contract]:
    """The contracts of a method, besides those of its file and of a training with it."""
    library = choice.library
    yield Contract("it binds without a warning", lambda: binds_without_a_warning(choice))
    yield Contract(
        "stopped after every checkpoint, its run ends bit for bit as a whole one",
        within(lambda folder: resumes(library.bound(small(choice.composition)), folder)),
    )
    yield Contract(
        "another seed is another run",
        within(lambda folder: follows_its_seed(library.bound(small(choice.composition, epochs=1)), folder)),
    )


def binds_without_a_warning(choice: Choice) -> None:
    """Raises BrokenContract."""
    recipe = choice.recipe
    require(not recipe.warnings, f"{choice.word} is warned about: {'; '.join(recipe.warnings)}")
    epochs = sum(stage.epochs for stage in recipe.stages)
    require(
        epochs >= LEAST_EPOCHS,
        f"{choice.word} trains {epochs} epochs on digits, of at least {LEAST_EPOCHS}; leave 'epochs' out",
    )


class Stop(Exception):
    """The process ends here."""


class Fragile(Checkpoints):
    """Stops the process right after it saved."""

    def save(self, name: str, state: dict[str, Any]) -> None:
        super().save(name, state)
        raise Stop


def trained(recipe: Recipe, folder: Path, seed: int = 0, **changes: Any) -> tuple[Network, list[Row]]:
    rows: list[Row] = []
    network = trainer(recipe, folder, report=rows.append, seed=seed, **changes).run()
    return network, rows


def stopped_at_every_epoch(recipe: Recipe, folder: Path, report: bool, **changes: Any) -> tuple[Network, list[Row]]:
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

    for _ in range(TRIES):
        checkpoints = Checkpoints(folder) if report else Fragile(folder)
        try:
            network = trainer(recipe, folder, report=tell, checkpoints=checkpoints, **changes).run()
        except Stop:
            stops += 1
            continue
        require(stops == len(rows), "it was not stopped in every epoch")
        return network, rows
    raise BrokenContract("a stopped run begins anew every time")


def comparable(rows: list[Row]) -> list[Row]:
    """Without what is measured by the clock."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def resumes(recipe: Recipe, folder: Path) -> None:
    """Raises BrokenContract."""
    whole, rows = trained(recipe, folder / "whole")
    broken, again = stopped_at_every_epoch(recipe, folder / "broken", report=False)
    way = "what changes in training must be a buffer, and what is drawn must come from torch's default generator"
    named = differing(snapshot(whole), snapshot(broken))
    require(not named, f"{some_of(named)} has other bits after a run that was stopped and went on; {way}")
    require(comparable(rows) == comparable(again), f"the losses of a run that was stopped and went on are others; {way}")
    states = [_last_state(each) for each in (folder / "whole", folder / "broken")]
    require(same(*states), f"the last checkpoint of a run that was stopped and went on is another; {way}")


def follows_its_seed(recipe: Recipe, folder: Path) -> None:
    """The same seed is bit-equal, as `resumes` has it. Raises BrokenContract."""
    (first, rows), (second, others) = (trained(recipe, folder / str(seed), seed=seed) for seed in (5, 6))
    different = differing(snapshot(first), snapshot(second)) and comparable(rows) != comparable(others)
    require(different, "two seeds give the same run; set no seed of your own, such as torch.manual_seed(0)")


def _last_state(folder: Path) -> dict[str, Any]:
    def warn(sentence: str) -> None:
        raise BrokenContract(f"its checkpoint is not whole: {sentence}")

    found = Checkpoints(folder).load(CPU, warn)
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
