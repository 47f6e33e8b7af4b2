"""Context of a run: the settings, device, precision and data that its stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ltrun.config.bind import Bound, public_name
from ltrun.config.settings import Settings
from ltrun.data.identity import Listing
from ltrun.data.source import Splits
from ltrun.data.stores import Store
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.precision import Precision
from ltrun.errors import ConfigError
from ltrun.parts import Backbone, Network, Prepare
from ltrun.recipe.pretrained import pretrained_elsewhere
from ltrun.recipe.stage import Recipe, Teacher
from ltrun.tasks import TASKS
from ltrun.tasks.base import Meter, Task
from ltrun.types import ClassStats

ON_CPU, TOGETHER = 250, 2**23  # size of an evaluation batch: inputs on a CPU, and values of all inputs together


@dataclass(frozen=True, eq=False)
class RunContext:
    """stats: class statistics of the training set. prepare: stored inputs -> inputs of the network. input_shape: shape of one
    stored input, such as (channels, H, W). warn: takes a sentence for the user. ranks: the processes that train this run.
    teach: returns the network of a teacher; without it, untrained copies of the network in training stand for teachers.
    """

    settings: Settings
    device: torch.device
    precision: Precision
    splits: Splits
    stats: ClassStats
    task: Task
    prepare: Prepare
    input_shape: torch.Size
    warn: Callable[[str], None]
    ranks: Ranks = ALONE
    teach: Callable[[Teacher, RunContext], Network] | None = None

    @classmethod
    def open(
        cls, settings: Settings, recipe: Recipe, device: torch.device, warn: Callable[[str], None], ranks: Ranks = ALONE
    ) -> RunContext:
        """Opens the data set of a recipe. Raises LtrunError."""
        source = recipe.dataset(device_decodes=settings.runtime.decode == "device")
        splits, task = ranks.first_on_each_machine(lambda: source.open(device)), TASKS[recipe.task]
        if recipe.reads_unlabelled and splits.unlabelled is None:
            readers = {s.origin for stage in recipe.stages for s in stage.streams.values() if s.split == "unlabelled"}
            raise ConfigError(
                f"{min(readers, key=len)} reads unlabelled images, which this data set does not have: choose CIFAR or "
                "digits_lt with a long tail, whose left-over images serve as such"
            )
        shape, runtime = splits.input_shape, settings.runtime
        _warn_of_size(recipe.backbone, shape, warn)
        for sentence in pretrained_elsewhere(recipe.backbone, shape):
            warn(sentence)
        if runtime.sync_bn and ranks.alone:
            warn("runtime.sync_bn=true changes no number of a run in one process, only its address; torchrun starts several")
        prepare = recipe.prepare.build({"in_channels": shape[0], "channels_last": runtime.channels_last}).to(device)
        stats = task.stats(splits.train.targets, splits.names)
        return cls(settings, device, Precision(runtime.precision, device), splits, stats, task, prepare, shape, warn, ranks)

    @cached_property
    def listing(self) -> Listing:
        """The listing of all images, for records and checkpoints."""
        return Listing.of(self.splits)

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def evaluated(self) -> dict[str, Store]:
        """The stores of the splits on which predictors are measured, by name."""
        return {"test": self.splits.test} | ({"val": self.splits.val} if self.splits.val is not None else {})

    def store(self, split: str) -> Store:
        """Returns the images that a stream draws: 'train' or 'unlabelled'. Raises ConfigError if there are none."""
        store = {"train": self.splits.train, "unlabelled": self.splits.unlabelled}[split]
        if store is None:
            raise ConfigError("this data set has no unlabelled images")
        return store

    @property
    def evaluation_batch(self) -> int:
        """The number of inputs that are evaluated at once."""
        size = self.settings.evaluation.batch_size
        if size != "auto":
            return size
        fitting = max(1, TOGETHER // self.input_shape.numel())
        return fitting if self.device.type == "cuda" else min(fitting, ON_CPU)

    def meter(self) -> Meter:
        evaluation = self.settings.evaluation
        return self.task.meter(self.stats, evaluation.many, evaluation.few)

    def injected(self) -> dict[str, Any]:
        """Returns the values that constructors of parts may ask for by name: see `CONTEXT` in ltrun/taxonomy.py.

        A stage adds its own.
        """
        return {
            "stats": self.stats,
            "num_classes": self.stats.num_classes,
            "in_channels": self.input_shape[0],
            "input_shape": self.input_shape,
            "channels_last": self.settings.runtime.channels_last,
            "unlabelled": 0 if self.splits.unlabelled is None else len(self.splits.unlabelled),
        }


def _warn_of_size(backbone: Bound[Backbone], shape: torch.Size, warn: Callable[[str], None]) -> None:
    """Warns of images outside the sizes that a network is made for.

    Larger images cost time, and each feature sees a small piece of them; smaller images are downsampled to almost nothing.
    """
    pixels = backbone.target.pixels_of(backbone.arguments)
    if pixels and len(shape) == 3 and not (pixels[0] <= min(shape[1:]) and max(shape[1:]) <= pixels[1]):
        least, most = pixels
        times = shape[1] * shape[2] / most**2
        cost = f", and takes {times:.2g} times as long as at {most} pixels" if times > 1 else ""
        warn(
            f"images of {shape[1]} x {shape[2]} pixels: {public_name(backbone.target)} is made for {least} to {most} pixels a "
            f"side{cost}; give dataset.image_size in that range, or another network"
        )
