"""Trained models of finished runs, rebuilt from record and weights: network, preparation of inputs, post-hoc parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltrun.config.settings import Runtime, Settings
from ltrun.data.decoding import Decoding
from ltrun.data.source import Splits
from ltrun.data.stores import Resident
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.context import RunContext
from ltrun.engine.device import device_of
from ltrun.engine.precision import Precision, has_bf16
from ltrun.engine.predictors import PLAIN, asked
from ltrun.engine.rehearsal import predictors_of
from ltrun.engine.trainer import Trainer
from ltrun.errors import DataError
from ltrun.metrics import MULTI_LABEL
from ltrun.network.fold import folded
from ltrun.parts import Network, PostHoc
from ltrun.recipe.pretrained import without_weights
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe
from ltrun.results.model import AGAIN, State, Trained
from ltrun.results.record import RunRecord
from ltrun.tasks import TASKS
from ltrun.types import ClassStats

OLD = "an earlier version of ltrun wrote this run without model.pth"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with the post-hoc part of one row.

    network: as it was trained. part: None for the network's own prediction. notes:
    sentences for the user.
    """

    record: RunRecord
    recipe: Recipe
    context: RunContext
    network: Network
    predictor: str
    part: PostHoc | None
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.record.classes["names"])

    @property
    def view(self) -> Decoding:
        """How an image file becomes an input: as for the data set of the run, or else its centre square."""
        return self.recipe.dataset().how or Decoding(self.context.input_shape[-1])

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.record.task == MULTI_LABEL

    @property
    def of_videos(self) -> bool:
        """Whether an input is features (frames, D) of a video, and no image."""
        return len(self.context.input_shape) == 2

    @property
    def inputs(self) -> str:
        """What the network classifies, in a sentence."""
        return "videos" if self.of_videos else "images"

    @cached_property
    def evaluated(self) -> Network:
        """The network as it is evaluated, batch normalisations folded."""
        return folded(self.network)

    def scores(self, inputs: Tensor) -> Tensor:
        """Returns (B, C) float32 scores, on the host, of inputs as stored (B, ...), as the run's evaluation computes them."""
        return self.scores_by({self.predictor: self.part}, inputs)[self.predictor]

    @torch.no_grad()
    def scores_by(self, parts: Mapping[str, PostHoc | None], inputs: Tensor) -> dict[str, Tensor]:
        """Returns row -> `scores`, of several rows of the run, whose inputs pass through the network once."""
        context, fields = self.context, {"logits"}.union(*(part.reads for part in parts.values() if part))
        with context.precision.autocast():
            found = self.evaluated.predict(context.prepare(inputs.to(context.device))).only(fields)
        outputs = found.map(lambda tensor: tensor.cpu())
        plain = context.task.scores(outputs)
        asked_of = {row: plain if part is None else asked(part, outputs.only(part.reads), plain) for row, part in parts.items()}
        return {row: scores.float() for row, scores in asked_of.items()}

    def rows(self, folder: Path) -> tuple[dict[str, PostHoc | None], list[str]]:
        """Returns row -> part, for every row of the run but single experts, and sentences on rows that did not keep theirs.

        folder: of the run. Raises DataError for a damaged model.pth.
        """
        trained = Trained.load(folder, self.record)
        found, notes = dict[str, PostHoc | None](), []
        for name in self.record.without_experts().predictors:
            try:
                found[name] = None if name == PLAIN else _part(name, self.recipe, self.context, trained)
            except DataError as error:
                notes.append(f"row '{name}' is left out: {error}")
        return found, notes


def model_of(record: RunRecord, folder: Path, config: Mapping[str, Any], predictor: str | None, device: str) -> Model:
    """Returns the model of a finished run. config: `config_here` of its record. predictor: None for the method's headline.

    Raises ConfigError for a predictor that the run does not have, and DataError if its weights are missing or do not fit.
    """
    predictor = predictor or record.headline
    record.check_predictor(predictor, "--predictor: ")
    settings, notes = _settings(config, device_of(device))
    recipe = without_weights(recipe_of(config, record.choices, settings.plugins))
    trained = Trained.load(folder, record)
    shape = trained.input_shape if trained else _shape(recipe)
    context = _context(settings, recipe, record, shape)
    network = _network(Trainer(recipe, context, Checkpoints(folder), lambda _: {}, lambda _: None), trained)
    part = None if predictor == PLAIN else _part(predictor, recipe, context, trained)
    seen = record.predictors[predictor]["sees"]
    if "test_inputs" in seen:
        notes.append(
            f"row '{predictor}' was fitted to the test images of its run, without their labels: it keeps what it learnt there"
        )
    return Model(record, recipe, context, network, predictor, part, tuple(notes))


def _settings(config: Mapping[str, Any], device: torch.device) -> tuple[Settings, list[str]]:
    """Returns the settings of a run for prediction on a device, and sentences on what differs."""
    settings, notes = Settings.of(config), []
    runtime: Runtime = replace(settings.runtime, device=str(device), compile=False, levers=[], sync_bn=False)
    wanted = runtime.precision
    if (wanted == "bf16" and not has_bf16(device)) or (wanted not in ("fp32", "bf16") and device.type == "cpu"):
        notes.append(f"the run was evaluated in {wanted}, which this device does not have: predicting in fp32")
        runtime = replace(runtime, precision="fp32")
    return replace(settings, runtime=runtime), notes


def _shape(recipe: Recipe) -> tuple[int, ...]:
    """Returns the shape of the inputs of a run without model.pth."""
    size, mean = recipe.source.arguments.get("image_size"), recipe.prepare.arguments.get("mean")
    if not isinstance(size, int) or mean is None:
        raise DataError(f"{OLD}, so the size of its images is not known: train it again with force=true")
    return (len(mean), size, size)


def _context(settings: Settings, recipe: Recipe, record: RunRecord, shape: tuple[int, ...]) -> RunContext:
    """Returns a context with the statistics of the run's classes and one empty image in place of its data."""
    names, device = tuple(record.classes["names"]), torch.device(settings.runtime.device)
    targets = TASKS[record.task].stand_in(len(names)).take(slice(1))
    store = Resident(torch.zeros(1, *shape, dtype=torch.uint8), targets)
    layout = {"in_channels": shape[0], "channels_last": settings.runtime.channels_last}
    return RunContext(
        settings=settings,
        device=device,
        precision=Precision(settings.runtime.precision, device),
        splits=Splits(store, None, store, names),
        stats=ClassStats(torch.tensor(record.classes["counts"]), names, record.training_images),
        task=TASKS[record.task],
        prepare=recipe.prepare.build(layout).to(device),
        input_shape=torch.Size(shape),
        warn=lambda sentence: None,
    )


def _network(trainer: Trainer, trained: Trained | None) -> Network:
    """Returns the network as it was trained. Without model.pth, the last checkpoint has the weights."""
    network = trainer.network()
    for index, stage in enumerate(trainer.recipe.stages):
        trainer.enter(network, stage, index)
    state = trained.network if trained else _of_checkpoint(trainer)
    try:
        cast(nn.Module, network).load_state_dict(dict(state))
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"the weights in {trainer.checkpoints.folder} do not fit the network of its record ({said}): {AGAIN}"
        ) from None
    return network


def _of_checkpoint(trainer: Trainer) -> State:
    folder, settings = trainer.checkpoints.folder, trainer.context.settings
    saved = trainer.checkpoints.load(torch.device("cpu"), lambda sentence: None)
    if saved is None:
        raise DataError(f"{folder} has neither model.pth nor a checkpoint, so it has no weights: {AGAIN}")
    if settings.selection == "best_val" and saved.get("best"):
        return cast(State, saved["best"]["network"])
    prefixes = ("average.network.", "objective.network.")  # the averaged weights, with runtime.ema
    prefix = next(prefix for prefix in prefixes if any(name.startswith(prefix) for name in saved["module"]))
    return {name.removeprefix(prefix): tensor for name, tensor in saved["module"].items() if name.startswith(prefix)}


def _part(predictor: str, recipe: Recipe, context: RunContext, trained: Trained | None) -> PostHoc:
    """Returns the post-hoc part of a row as it was fitted. Raises DataError if the run did not keep it."""
    part = predictors_of(replace(recipe, posthoc={predictor: recipe.posthoc[predictor]}), context)[predictor]
    if trained is None:
        if part.sees:
            raise DataError(
                f"{OLD}, so what '{predictor}' learnt from {', '.join(sorted(part.sees))} is lost: give --predictor {PLAIN}, "
                "or train the run again with force=true"
            )
        return part.eval()
    if predictor not in trained.posthoc:
        raise DataError(f"model.pth does not hold the row '{predictor}': train the run again with force=true")
    for name, tensor in trained.posthoc[predictor].items():
        place, _, leaf = name.rpartition(".")
        owner = part.get_submodule(place)
        setattr(owner, leaf, nn.Parameter(tensor) if leaf in owner._parameters else tensor)
    return part.eval()
