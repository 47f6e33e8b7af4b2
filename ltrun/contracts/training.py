"""Contracts of a training with an option: it trains and predicts, and a checkpoint carries all state that changes."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ltrun.config.bind import public_name
from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.library import Choice, Composed, changed, of_videos, small
from ltrun.contracts.trial import differing, snapshot, some_of, trainer
from ltrun.data import Splits
from ltrun.engine.assembly import augments_of
from ltrun.engine.predictors import Predictors
from ltrun.engine.stage import Row, StageRun
from ltrun.metrics import MULTI_LABEL, TASKS
from ltrun.parts import Part
from ltrun.recipe.stage import Recipe
from ltrun.results.record import EXPERT
from ltrun.taxonomy import STAGE_SLOTS
from ltrun.types import Clock

DIGIT = 8  # pixels of a side of a digit


def of_a_training(choice: Choice) -> Iterator[Contract]:
    """Yields the contracts of an option of any slot, of a preset, or of a network, an optimizer or a schedule."""
    yield Contract("its parts can be built", within(lambda folder: is_built(choice, folder)), decisive=True)
    if choice.group == "network" and not takes_digits(choice):
        return
    for each in choice.of_each_task():
        yield Contract(
            "it trains and predicts on digits" if each.task != MULTI_LABEL else "it trains and predicts on scenes of digits",
            within(partial(tries_an_epoch, each)),
            decisive=True,
        )
    if choice.group in STAGE_SLOTS:
        yield Contract(
            "values that change in training are buffers, which a checkpoint carries",
            within(lambda folder: keeps_state_in_buffers(choice.library.bound(quick(choice, 10)), folder)),
        )


def tries_an_epoch(choice: Choice, folder: Path) -> None:
    """Checks `trains_and_predicts` of an option."""
    trains_and_predicts(choice.library.bound(quick(choice, 1)), folder)


def quick(choice: Choice, epochs: int) -> Composed:
    """Returns the configuration of an option, with a small network unless the option is a network."""
    if choice.group != "network":
        return small(choice.composition, epochs)
    own = changed(choice.composition, epochs=epochs)
    return of_videos(own) if choice.recipe.backbone.target.videos else own


def takes_digits(choice: Choice) -> bool:
    """Whether a network is made for images as small as the digits."""
    backbone = choice.recipe.backbone
    sides = backbone.target.pixels_of(backbone.arguments)
    return sides is None or sides[0] <= DIGIT


def within(check: Callable[[Path], None]) -> Callable[[], None]:
    """Returns the check with a temporary folder as its argument."""

    def run() -> None:
        with tempfile.TemporaryDirectory(prefix="ltrun-check-") as folder:
            check(Path(folder))

    return run


def keeps_state_in_buffers(recipe: Recipe, folder: Path) -> None:
    """Trains the first and the last of ten epochs, and checks buffers, checkpoints and copies of the parts.

    Buffers are written in place and stay finite; no plain attribute changes; a checkpoint restores all state and the loss of
    the next step; a copy has the same values and shares no tensor.
    """
    made = trainer(recipe, folder)
    run = made.begin(made.network(), recipe.stages[0], 0)
    fresh = copy.deepcopy(run.objective)
    named = differing(_buffers(fresh), _buffers(run.objective))
    require(
        not named, f"{some_of(named)}: copy.deepcopy of the part gives other values; remove its __deepcopy__ or __getstate__"
    )

    places = {name: tensor.data_ptr() for name, tensor in _buffers(run).items()}
    plain = {name: plain_attributes(part) for name, part in _named_parts(run)}
    for epoch in (0, 9):  # before and after all deferred parts switch on
        run.epoch(Clock("train", epoch, 10))
    _require_in_place(run, places, plain)
    for name, tensor in run.state_dict().items():
        require(tensor.isfinite().all(), f"{name} is not finite after two epochs on digits")

    # a checkpoint restores all buffers; those that are not persistent must depend on the constructor's arguments only
    other = trainer(recipe, folder / "other", seed=1)
    second = other.begin(other.network(), recipe.stages[0], 0)
    require(differing(snapshot(second), snapshot(run)), "two epochs of training change nothing")
    second.load_state_dict(run.state_dict())
    named = differing(_buffers(second), _buffers(run))
    named |= differing(dict(second.named_parameters()), dict(run.named_parameters()))
    require(
        not named, f"{some_of(named)}: a checkpoint does not restore it; register the buffer with persistent=True, the default"
    )
    losses = [_loss_of_a_step(each) for each in (run, second)]
    require(
        losses[0] == losses[1],
        f"a step has a loss of {losses[1]!r}, and {losses[0]!r} after a checkpoint was loaded; keep values that change in "
        "self.register_buffer, and draw random numbers from torch's default generator",
    )

    twin = copy.deepcopy(run.objective)
    shared = {t.data_ptr() for t in _tensors(twin) if t.numel()} & {t.data_ptr() for t in _tensors(run.objective) if t.numel()}
    require(not shared, "copy.deepcopy of the parts shares tensors with the original; remove __deepcopy__")


def _require_in_place(run: StageRun, places: dict[str, int], plain: dict[str, dict[str, str]]) -> None:
    now = {name: tensor.data_ptr() for name, tensor in _buffers(run).items()}
    moved = {name for name in places.keys() | now.keys() if places.get(name) != now.get(name)}
    require(not moved, f"the buffer {some_of(moved)} was replaced; write it in place: self.NAME.copy_(...)")
    for name, part in _named_parts(run):
        before, after = plain[name], plain_attributes(part)
        keys = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        require(
            not keys,
            f"{public_name(type(part))}.{min(keys, default='')} is a plain value that changes in training, which neither a "
            f"checkpoint nor a captured step sees: self.register_buffer('{min(keys, default='')}', torch.tensor(...))",
        )


def _loss_of_a_step(run: StageRun) -> float:
    run._set_modes()
    torch.manual_seed(7)
    store = run.context.splits.train
    batches = {name: next(iter(store.open([torch.arange(16)]))) for name in run.stage.streams}
    loss: float = run.objective(batches)[0]["total"].item()
    return loss


def trains_and_predicts(recipe: Recipe, folder: Path) -> None:
    """Trains an epoch of each stage, fits all post-hoc parts, and checks losses, scores and accuracies."""
    rows: list[Row] = []
    made = trainer(recipe, folder, report=rows.append)
    try:
        network = made.run()
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        raise BrokenContract("the loss does not depend on the network; compute it from the logits that forward gets") from error
    require(len(rows) == len(recipe.stages), f"{len(recipe.stages)} stages of an epoch give {len(rows)} rows of a history")
    for row in rows:
        require(math.isfinite(row["loss"]), f"the loss of stage '{row['stage']}' is {row['loss']}")
    splits = made.context.splits
    train, test = splits.train, splits.test
    run = replace(made.context, splits=Splits(train, test, test, splits.names))
    posthoc = {name: part.build(run.injected()) for name, part in recipe.posthoc.items()}
    predictors = Predictors(network, run, posthoc, augments_of(recipe.stages[0], "main", run.injected()))
    predictors.fit()
    found, scores = predictors.measure()
    tables = [{name for name in table if not name.startswith(EXPERT)} for table in (found, scores)]
    said = f"the rows of the table are {some_of(tables[0])}, with scores {some_of(tables[1])}"
    require(tables == [{"plain", *posthoc}] * 2, said)
    for name in scores:
        shape = tuple(scores[name].shape)
        require(shape == (len(test), 10), f"posthoc.predictors.{name} gives scores of shape {shape}, not ({len(test)}, 10)")
        require(scores[name].isfinite().all(), f"posthoc.predictors.{name} gives scores that are not finite")
        metric = TASKS[recipe.task][0]
        value = found[name]["splits"]["test"][metric.name]
        require(0 <= value <= 1, f"posthoc.predictors.{name} has a {metric.title} of {value}, outside 0 to 1")


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    """Returns all buffers, also those that checkpoints leave out."""
    return dict(module.named_buffers())


def _named_parts(module: nn.Module) -> list[tuple[str, Part]]:
    return [(name, each) for name, each in module.named_modules() if isinstance(each, Part)]


def plain_attributes(module: nn.Module) -> dict[str, str]:
    """Returns the attributes of a part that are neither tensors nor modules, as text, to compare them over time."""
    hidden = {"_parameters", "_buffers", "_modules", "training"}

    def holds_tensors(value: object) -> bool:
        return isinstance(value, list) and any(isinstance(item, torch.Tensor) for item in value)

    return {name: repr(value) for name, value in vars(module).items() if name not in hidden and not holds_tensors(value)}


def is_built(choice: Choice, folder: Path) -> None:
    """Builds the network, the parts of each stage and the post-hoc parts. Raises any exception of a constructor."""
    recipe = choice.library.bound(quick(choice, 1))
    made = trainer(recipe, folder)
    network = made.network()
    for index, stage in enumerate(recipe.stages):
        made.begin(network, stage, index)
    for part in recipe.posthoc.values():
        part.build(made.context.injected())
