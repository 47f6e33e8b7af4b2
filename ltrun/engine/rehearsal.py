"""Rehearsal of a run: builds every part and takes a step of every stage before the first stage trains."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.config.bind import Bound
from ltrun.config.job import Job
from ltrun.config.settings import Settings
from ltrun.data.source import Splits
from ltrun.data.stores import Resident
from ltrun.engine import accumulation, levers
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.context import RunContext
from ltrun.engine.precision import Precision
from ltrun.engine.predictors import asked
from ltrun.engine.stage import StageRun
from ltrun.engine.step import random_state, set_random_state
from ltrun.engine.trainer import Trainer
from ltrun.errors import ConfigError, LtrunError, TrainingError
from ltrun.metrics import SINGLE_LABEL
from ltrun.parts import Backbone, Head, Network, PostHoc
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe
from ltrun.tasks import TASKS
from ltrun.types import ClassStats, Outputs, seed_of

CPU = torch.device("cpu")
FEW, MOST = 8, 1000  # images that pass through the network, and the most classes that their outputs are labelled with
CLASSES, LARGEST = 10, 2000  # classes of the first stand-in, and the most classes of any


def check(job: Job) -> Recipe:
    """Returns the recipe of a job after every check that needs no data. Raises ConfigError.

    Parts are built on stand-ins for a data set. A recipe is refused only if no stand-in suits it, because some values fit one
    number of classes alone; and not if a plugin's part refuses without naming a value, because it may refuse the stand-in.
    """
    for path, teacher in job.teachers.items():
        try:
            check(teacher)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    recipe = recipe_of(job.config, job.choices, job.settings.plugins)
    recipe.check_settings()
    levers.check(job.settings.runtime)
    accumulation.check(job.settings)
    if recipe.dataset().lacks_validation:
        refuse_without_validation(job.settings, recipe)
    refused: list[ConfigError] = []
    state = random_state(CPU)
    for context in _stand_ins(job.settings, recipe):
        try:
            stages = _stages(Trainer(recipe, context, Checkpoints(job.folder, resume=False), lambda _: {}, lambda _: None))
            for _ in stages:
                pass
            predictors_of(recipe, context)
            return recipe
        except ConfigError as error:
            refused.append(error)
        except Exception:  # the part may need real data: `rehearse` builds it on them before training
            return recipe
        finally:
            set_random_state(CPU, state)
    if refused[0].certain:
        raise refused[0]
    return recipe


def refuse_without_validation(settings: Settings, recipe: Recipe) -> None:
    wanting = ["selection=best_val"] if settings.selection == "best_val" else []
    wanting += [part.origin for part in recipe.posthoc.values() if "val" in part.target.sees]
    if wanting:
        taken = inspect.signature(recipe.source.target).parameters
        keys = {
            "validation": "dataset.validation, such as 0.2 of each class",
            "validation_per_class": "dataset.validation_per_class above 0",
        }
        way = next((f"set {said}" for key, said in keys.items() if key in taken), "choose a data set that has one")
        raise ConfigError(f"{wanting[0]} needs a validation split; {way}")


def predictors_of(recipe: Recipe, context: RunContext) -> dict[str, PostHoc]:
    """Returns name -> post-hoc part, built and not yet fitted."""
    return {name: part.build(context.injected()) for name, part in recipe.posthoc.items()}


def rehearse(trainer: Trainer) -> None:
    """Builds every stage on the run's own data, takes a step of each, and has the post-hoc parts score a few images.

    The network is thrown away; an error in a later stage shows now rather than after hours. Restores the state of the default
    generators. Raises LtrunError, and whatever a part raises.
    """
    context, state = trainer.context, random_state(trainer.context.device)
    settings = context.settings
    rehearsed = replace(context, settings=replace(settings, runtime=replace(settings.runtime, compile=False)))
    network: Network | None = None
    try:
        for network, running in _stages(replace(trainer, context=rehearsed)):
            _watch(network, context.stats.num_classes)
            try:
                running.rehearse()
            except LtrunError:
                raise
            except Exception as error:
                if (refused := _explained(error, context)) is None:
                    raise
                raise refused from error
        if network is not None:
            _score_a_few(network, rehearsed, predictors_of(trainer.recipe, rehearsed))
    finally:
        set_random_state(context.device, state)


def _stages(trainer: Trainer) -> Iterator[tuple[Network, StageRun]]:
    """Yields the network and each stage as the stage begins, all on one new network."""
    network = trainer.network()
    for index, stage in enumerate(trainer.recipe.stages):
        yield network, trainer.begin(network, stage, index)


def _stand_ins(settings: Settings, recipe: Recipe) -> Iterator[RunContext]:
    """Yields contexts without data: long-tailed and equal counts, for classes that an argument names, for ten classes and each
    number that an argument suggests."""
    stated = recipe.prepare.arguments.values()
    channels = next((len(value) for value in stated if isinstance(value, Sequence)), 3)
    sizes = [*_lengths(recipe), *(value for value in recipe.source.arguments.values() if type(value) is int)]
    runtime = replace(settings.runtime, compile=False, levers=[])
    numbered = (tuple(map(str, range(size))) for size in dict.fromkeys([CLASSES, *sizes]) if 2 <= size <= LARGEST)
    for names in (*_tables(recipe), *numbered):
        classes = len(names)
        for counts in (10 + 990 // torch.arange(1, classes + 1), torch.full((classes,), 100)):
            targets = TASKS[recipe.task].stand_in(classes)
            store = Resident(torch.zeros(classes, channels, 1, 1, dtype=torch.uint8), targets)
            yield RunContext(
                settings=replace(settings, runtime=runtime),
                device=CPU,
                precision=Precision("fp32", CPU),
                splits=Splits(store, store, store, names, unlabelled=store),
                stats=ClassStats(counts, names, _images(counts, recipe.task)),
                task=TASKS[recipe.task],
                prepare=recipe.prepare.build({"in_channels": channels, "channels_last": settings.runtime.channels_last}),
                input_shape=torch.Size((channels, 1, 1)),
                warn=lambda sentence: None,
            )


def _images(counts: Tensor, task: str) -> int:
    """Returns a number of images that have classes so often: of several labels, images have 1.5 on average."""
    total = int(counts.sum())
    return total if task == SINGLE_LABEL else max(int(counts.max()), 2 * total // 3)


def _lengths(recipe: Recipe) -> Iterator[int]:
    """Yields the lengths of the lists among the arguments of all parts: a list may hold one value per class."""
    parts: list[Bound[Any]] = [*recipe.posthoc.values(), *(part for stage in recipe.stages for part in stage.parts())]
    for value in (value for part in parts for node in part.walk() for value in node.arguments.values()):
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield len(value)


def _tables(recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """Yields the class names in the tables of superclasses among the arguments of heads."""
    for node in (node for stage in recipe.stages for node in stage.head.walk()):
        for value in node.arguments.values():
            if isinstance(value, Mapping) and (names := tuple(_named(value))):
                yield names


def _named(content: object) -> Iterator[str]:
    for item in content.values() if isinstance(content, Mapping) else content if isinstance(content, (list, tuple)) else ():
        yield from [str(item)] if isinstance(item, str) else _named(item)


@torch.no_grad()
def _score_a_few(network: Network, context: RunContext, posthoc: Mapping[str, PostHoc]) -> None:
    """Fits each post-hoc part to a few outputs of every class from an untrained network, and has it score them.

    Raises LtrunError for errors that do not depend on the outputs: the shape of the scores, a field that the part's `reads`
    lacks, a classifier that the part does not support. Other errors may come from these outputs; an error that comes again
    after training costs the part its row.
    """
    rows, present = torch.arange(min(FEW, len(context.splits.train))), context.stats.counts.nonzero()[:MOST, 0]
    batch = next(iter(context.splits.train.open([rows])))
    with context.precision.autocast():
        found = network.eval().predict(context.prepare(batch.inputs)).map(lambda tensor: tensor.cpu())
    outputs = Outputs.concatenate([found] * -(-len(present) // len(rows)))
    labels = present[torch.arange(len(outputs.need("logits"))) % len(present)]
    provided = {name.name for name in fields(outputs) if isinstance(getattr(outputs, name.name), Tensor)}
    for name, part in posthoc.items():
        torch.manual_seed(seed_of(context.seed, "posthoc", name))
        try:
            _ask(part, outputs, labels, part.reads)
        except LtrunError:
            raise
        except Exception:
            for unnamed in sorted(provided - part.reads):
                if _answers(part, outputs, labels, part.reads | {unnamed}):
                    raise TrainingError(
                        f"{type(part).__name__} reads '{unnamed}', which its `reads` does not name; add it there"
                    ) from None


def _answers(part: PostHoc, outputs: Outputs, labels: Tensor, reads: Collection[str]) -> bool:
    try:
        _ask(part, outputs, labels, reads)
    except Exception:
        return False
    return True


def _ask(part: PostHoc, outputs: Outputs, labels: Tensor, reads: Collection[str]) -> None:
    shown = outputs.only(reads)
    part.fit({split: Few(shown, labels, split == "test_inputs") for split in part.sees})
    asked(part, shown, outputs.need("logits"))


@dataclass(frozen=True)
class Few:
    """Evidence of a few outputs. hidden: whether reading the labels raises PermissionError."""

    given: Outputs
    known: Tensor
    hidden: bool

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        return self.given

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        yield self.given

    @property
    def labels(self) -> Tensor:
        if self.hidden:
            raise PermissionError("a post-hoc part may see test inputs, never test labels")
        return self.known


def _watch(network: Network, classes: int) -> None:
    """Makes backbones and heads raise TrainingError for outputs of an unexpected shape, type or device."""

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        width = module.features if isinstance(module, Backbone) else classes
        found, needed = type(output).__name__, f"a row of {width} numbers per image"
        if isinstance(output, Tensor):
            if output.shape == (len(inputs[0]), width):
                needed = f"{inputs[0].dtype} on {inputs[0].device}"
                if output.is_floating_point() and output.dtype is not torch.float64 and output.device == inputs[0].device:
                    return
                found = f"{output.dtype} on {output.device}"
            else:
                found = str(tuple(output.shape))
        raise TrainingError(f"{type(module).__name__} returns {found}, where {needed} is needed")

    for module in network.modules():
        if isinstance(module, (Backbone, Head)):
            module.register_forward_hook(look)


def _explained(error: Exception, context: RunContext) -> ConfigError | None:
    """Returns a ConfigError if the backbone cannot process inputs of this shape or batch size; None for any other error."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_locals.get("self"))
        trace = trace.tb_next
    backbone = next((frame for frame in frames if isinstance(frame, Backbone)), None)
    if backbone is None or type(error) not in (RuntimeError, ValueError) or not str(error):  # torch's refusals
        return None
    shape, size = tuple(context.input_shape), context.settings.batch_size
    reason, way = str(error).splitlines()[0], "choose another network"
    if "more than 1 value per channel" in reason:  # torch's batch normalisation
        reason, way = "batch normalisation needs more than one value per channel", "give a larger batch_size, or larger images"
    return ConfigError(
        f"network: {type(backbone).__name__} cannot train on inputs of shape {shape} with batch_size={size} ({reason}); {way}"
    )
