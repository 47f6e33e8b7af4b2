"""A trial training on seventy digits, or on seventy scenes of digits, of ten classes, and the comparison of its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltrun.config.settings import Settings
from ltrun.contracts.contract import BrokenContract
from ltrun.contracts.library import Library
from ltrun.data import DigitScenes, DigitsLT, InFloat32, Normalise, Resident, Splits
from ltrun.data.digits import NAMES
from ltrun.data.stores import Store
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.context import RunContext
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.precision import Precision
from ltrun.engine.predictors import evaluate
from ltrun.engine.stage import Row
from ltrun.engine.trainer import Trainer
from ltrun.metrics import MULTI_LABEL, SINGLE_LABEL
from ltrun.parts import Network, Prepare
from ltrun.recipe.stage import Recipe
from ltrun.tasks import TASKS
from ltrun.types import ClassStats, Labels, MultiHot

CPU = torch.device("cpu")
COUNTS = torch.tensor([20, 14, 10, 8, 6, 4, 3, 2, 2, 1])  # images per class; one class has a single image


@cache
def digits(task: str = SINGLE_LABEL, videos: bool = False) -> tuple[Resident, Resident]:
    """Returns seventy training images and thirty test images: of digits_lt, or scenes of digits_multi_lt.

    videos: whether the lines of an image are the frames of a video, and their pixels, from 0 to 15, its features.
    """
    if videos:
        train, test = digits(task)
        return Resident(train.images[:, 0] // 16, train.targets), Resident(test.images[:, 0] // 16, test.targets)
    if task == MULTI_LABEL:
        return _scenes()
    splits = DigitsLT(profile="as_is").open(CPU)

    def some(store: Any, counts: Iterable[int]) -> Resident:
        labels = store.targets.labels
        rows = torch.cat([(labels == c).nonzero()[:n, 0] for c, n in enumerate(counts)])
        return Resident(store.images[rows], Labels.hard(labels[rows]))

    return some(splits.train, COUNTS.tolist()), some(splits.test, [3] * len(COUNTS))


def _scenes() -> tuple[Resident, Resident]:
    """Returns scenes with all classes, one of which is in a single training scene; some test scenes have no digit."""
    splits = DigitScenes().open(CPU)
    labels = splits.train.targets.labels
    last = labels[:, -1]
    rows = torch.cat([last.nonzero()[:1, 0], (~last).nonzero()[:, 0]])
    rare_first = (~labels[rows, -3:].any(1)).long().argsort(stable=True)

    def some(store: Any, rows: Tensor) -> Resident:
        return Resident(store.images[rows], MultiHot(store.targets.labels[rows]))

    return some(splits.train, rows[rare_first][: int(COUNTS.sum())]), some(splits.test, torch.arange(0, len(splits.test), 8))


@cache
def unlabelled(device: torch.device) -> Resident:
    """Returns eighty images of digits_lt without labels, most of them of the rare classes."""
    store = DigitsLT(reads_unlabelled=True).open(CPU).unlabelled
    assert isinstance(store, Resident)
    return Resident(store.images[:80].to(device), store.targets.take(torch.arange(80)).to(device))


def stats(task: str = SINGLE_LABEL) -> ClassStats:
    return ClassStats.of(digits(task)[0].targets, len(NAMES), NAMES)


def normaliser() -> Normalise:
    return Normalise(mean=[0.3053], std=[0.376], in_channels=1, channels_last=False)


def prepared(videos: bool) -> Prepare:
    return InFloat32() if videos else normaliser()


def accuracies(network: Network, **given: Any) -> dict[str, dict[str, Any]]:
    """Returns the metrics on the small test set, which also stands for the validation split. given: as in `context`."""
    metrics = evaluate(network, context(**given))["test"]
    return {"test": metrics, "val": metrics}


@cache
def _usual() -> Settings:
    return Settings.of(Library().composed()[0])


def settings(**given: Any) -> Settings:
    """Returns the settings of digits_lt with batches of 32, an evaluation every other epoch, and the changes given.

    given: keys by their last name, whatever their level; evaluation_batch is evaluation.batch_size.
    """
    usual = _usual()
    changes: dict[str, Any] = {"batch_size": 32, "every": 2, "checkpoint_seconds": 0.0, "precision": "fp32"} | given
    evaluation, runtime = usual.evaluation, usual.runtime
    if "evaluation_batch" in changes:
        evaluation = replace(evaluation, batch_size=changes.pop("evaluation_batch"))
    own = {field.name: changes.pop(field.name) for field in fields(evaluation) if field.name in changes.keys() - {"batch_size"}}
    evaluation = replace(evaluation, **own)
    own = {field.name: changes.pop(field.name) for field in fields(runtime) if field.name in changes}
    return replace(usual, evaluation=evaluation, runtime=replace(runtime, **own), **changes)


def context(
    train_set: Store | None = None,
    test_set: Store | None = None,
    counts: ClassStats | None = None,
    prepare: Prepare | None = None,
    device: torch.device = CPU,
    warn: Callable[[str], None] | None = None,
    ranks: Ranks = ALONE,
    task: str = SINGLE_LABEL,
    videos: bool = False,
    **changes: Any,
) -> RunContext:
    """Returns the context of a run on the small set. Without `warn`, a warning raises BrokenContract."""
    train, test = digits(task, videos)
    counts = counts or stats(task)
    further = unlabelled(device) if task == SINGLE_LABEL else None
    chosen = settings(**changes)
    return RunContext(
        settings=chosen,
        device=device,
        precision=Precision(chosen.runtime.precision, device),
        splits=Splits(train_set or train, None, test_set or test, counts.names, unlabelled=further),
        stats=counts,
        task=TASKS[task],
        prepare=prepare or prepared(videos),
        input_shape=train.images.shape[1:],
        warn=warn or partial(_unexpected, "a training warns"),
        ranks=ranks,
    )


def trainer(
    recipe: Recipe,
    folder: Path,
    report: Callable[[Row], None] = lambda row: None,
    evaluate: Callable[[Network], Mapping[str, Mapping[str, Any]]] | None = None,
    checkpoints: Checkpoints | None = None,
    **changes: Any,
) -> Trainer:
    """Returns a trainer on the small set of the recipe's task: three batches per epoch, the last one partial.

    evaluate: `accuracies` unless given. changes: as in `context`.
    """
    given: dict[str, Any] = {"task": recipe.task, "videos": recipe.backbone.target.videos}
    shown = evaluate or partial(accuracies, **given)
    return Trainer(recipe, context(**given | changes), checkpoints or Checkpoints(folder), shown, report)


def _unexpected(what: str, sentence: str) -> None:
    raise BrokenContract(f"{what}: {sentence}")


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> set[str]:
    """Returns the names of tensors that are not bit-equal, or that only one of the two has."""
    shared = first.keys() & second.keys()
    return (first.keys() ^ second.keys()) | {name for name in shared if not torch.equal(first[name], second[name])}


def some_of(names: Iterable[str]) -> str:
    """Returns up to three names and the number of the others, for a sentence."""
    found = sorted(names)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


class Count(TorchDispatchMode):
    """Counts tensor operations."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))
