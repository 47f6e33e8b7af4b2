"""Teachers of a run: trained on demand as runs of their own, and loaded into frozen networks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ltrun.config.job import Job
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.context import RunContext
from ltrun.engine.trainer import Trainer
from ltrun.engine.turns import released
from ltrun.errors import BusyError, ConfigError, DataError, LtrunError
from ltrun.parts import Network
from ltrun.recipe.pretrained import without_weights
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe, Teacher
from ltrun.results.address import RESULT
from ltrun.results.model import Trained
from ltrun.results.record import RunRecord

log = logging.getLogger(__name__)
PAUSE = 2.0  # seconds between two looks at a teacher that another process trains
Teach = Callable[[Teacher, RunContext], Network]


def on_demand(recipe: Recipe, job: Job) -> dict[str, Job]:
    """Returns key path -> job of the teachers of a recipe that are trained where they are missing."""
    paths = [teacher.path for stage in recipe.stages for teacher in stage.teachers.values()]
    return {path: job.teachers[path] for path in paths if path in job.teachers}


def trained(jobs: Mapping[str, Job], context: RunContext, train: Callable[[Job], object]) -> None:
    """Trains each teacher that has no result yet, or waits for the process that does. Raises LtrunError, with the key path."""
    ranks = context.ranks
    tell = log.info if ranks.first else log.debug
    for path, job in jobs.items():
        waits = False
        while not ranks.from_first(lambda job=job: (job.folder / RESULT).exists()):  # type: ignore[misc]
            if not waits:
                tell(f"the teacher {job.title} comes first, in {job.folder}")
            try:
                train(job)
            except BusyError:
                waits = True
                with released():
                    time.sleep(PAUSE)
            except LtrunError as error:
                raise type(error)(f"{path}: the teacher {job.title} has no result: {error}") from None


def untrained(recipe: Recipe, jobs: Mapping[str, Job]) -> Teach:
    """Returns a function that builds the network of a teacher without its weights, for a rehearsal."""

    def teach(teacher: Teacher, context: RunContext) -> Network:
        config, choices = _recorded(teacher) if teacher.run else (jobs[teacher.path].config, jobs[teacher.path].choices)
        return _network(config, choices, teacher, recipe, context)

    return teach


def taught(recipe: Recipe, jobs: Mapping[str, Job]) -> Teach:
    """Returns a function that loads the network of a teacher, which must have its result.

    The function raises DataError, with the key path, for a teacher of other classes or data.
    """

    def teach(teacher: Teacher, context: RunContext) -> Network:
        folder = Path(teacher.run) if teacher.run else jobs[teacher.path].folder
        record, model = _finished(teacher, folder)
        _check_data(record, folder, teacher, context)
        network = _network(record.config, record.choices, teacher, recipe, context)
        try:
            cast(nn.Module, network).load_state_dict(dict(model.network))
        except RuntimeError as error:
            said = " ".join(str(error).split())[:200]
            raise DataError(f"{teacher.path}: the weights in {folder} do not fit the record beside them ({said})") from None
        return network

    return teach


def _finished(teacher: Teacher, folder: Path) -> tuple[RunRecord, Trained]:
    """Returns record and model of a teacher. Raises DataError, with the key path, for files that are missing or damaged."""
    try:
        record = RunRecord.load(folder / RESULT)
        model = Trained.load(folder, record)
    except DataError as error:
        said = str(error)
    else:
        if model is not None:
            return record, model
        said = f"{folder} has no weights of its run: train it again with force=true"
    again = "" if teacher.run else f", or delete {folder}: this command, also without force=true, then trains the teacher again"
    raise DataError(f"{teacher.path}: {said}{again}") from None


def _recorded(teacher: Teacher) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    record = RunRecord.load(Path(str(teacher.run)) / RESULT)
    return record.config, record.choices


def _check_data(record: RunRecord, folder: Path, teacher: Teacher, context: RunContext) -> None:
    """Raises DataError for a teacher that was trained on other classes or other images."""
    names, counts = record.classes["names"], record.classes["counts"]
    other = None
    if list(context.splits.names) != list(names):
        other = f"it knows {len(names)} classes, and this run has {len(context.splits.names)}"
        if len(names) == len(context.splits.names):
            other = "its classes have other names, or another order"
    elif context.stats.counts.tolist() != list(counts):
        other = "its classes have other numbers of training images"
    elif record.data:
        other = context.listing.difference(record.data, folder)
    if other is not None:
        raise DataError(f"{teacher.path}: the teacher in {folder} was trained on other data: {other}; give another teacher")


def _network(
    config: Mapping[str, Any], choices: Mapping[str, str], teacher: Teacher, student: Recipe, context: RunContext
) -> Network:
    """Returns the network of a teacher in this run's context; its own random draws change no other draw.

    Raises ConfigError for a network that cannot be built here, or that expects other inputs than the student.
    """
    try:
        recipe = recipe_of(config, choices, context.settings.plugins)
    except ConfigError as error:
        raise ConfigError(f"{teacher.path}: the teacher cannot be built here: {error}") from None
    if (recipe.prepare.target, recipe.prepare.arguments) != (student.prepare.target, student.prepare.arguments):
        raise ConfigError(
            f"{teacher.path}: the teacher expects inputs prepared in another way than this run's, as with other pre-trained "
            "weights; give network.weights to both, or to neither"
        )
    recipe = without_weights(recipe)
    with torch.random.fork_rng([context.device] if context.device.type == "cuda" else []):
        trainer = Trainer(recipe, context, Checkpoints(Path(), resume=False), lambda _: {}, lambda _: None)
        network = trainer.network()
        for index, stage in enumerate(recipe.stages):
            trainer.enter(network, stage, index)
    return network
