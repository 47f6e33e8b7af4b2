"""Subjects of the benchmarks: ltrun's own objects, made from a command line as a run makes them."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from common import current_flags, flags
from rich.console import Console
from torch import Tensor

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.job import Job
from ltrun.data.stores import Store
from ltrun.engine.progress import Bar
from ltrun.engine.run import Run
from ltrun.engine.step import WARM_UP
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import MAIN
from ltrun.results.address import RESULT
from ltrun.results.record import RunRecord
from ltrun.types import Clock

SOURCE = "dataset"  # the key of a configuration that holds the arguments of a data set
LTRUN = (sys.executable, "-P", "-m", "ltrun")  # -P: the ltrun that the benchmark imports, whatever folder it is started in
RANDOM_IMAGES = ("dataset=cifar100_lt", f"{SOURCE}._target_=stand_ins.RandomLT", "plugins=[stand_ins]")


def runtime(args: argparse.Namespace) -> tuple[str, ...]:
    """Returns the overrides for the options that all benchmarks share."""
    device = [] if args.device == "auto" else [f"runtime.device={args.device}"]
    threads = [f"runtime.threads={args.threads}"] if args.threads else []
    return f"runtime.precision={args.precision}", f"runtime.compile={args.compile}", *device, *threads


def sized(test_images: int, largest_class: int | None = None) -> list[str]:
    """Returns the overrides for so many random test images, and so many training images of the largest class."""
    training = [] if largest_class is None else [f"+{SOURCE}.largest_class={largest_class}"]
    return [f"+{SOURCE}.test_images={test_images}", *training]


def job_of(*overrides: str) -> Job:
    """Returns the job of `ltrun *overrides`, on random images with the class counts of CIFAR100-LT."""
    with hydra_ready():
        return compose_job([*RANDOM_IMAGES, *overrides])


class Subject:
    """The data, the network and the stages of one command line. Outputs go to a temporary folder.

    steps: an epoch ends after so many batches; None is a whole epoch. rows: if set, the rows of every epoch. epoch_images: the
    number of images that the sampler drew for the last epoch, trained on or not. warnings: the warnings that a run would print.
    """

    def __init__(self, device: torch.device, *overrides: str, steps: int | None = None):
        folder = tempfile.mkdtemp(prefix="ltrun-benchmark-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.job = job_of(f"outputs={folder}", *overrides)
        recipe = recipe_of(self.job.config, self.job.choices, self.job.settings.plugins)
        self.warnings: list[str] = []
        self.run = Run.open(self.job, recipe, device, _Silent(self.warnings))
        self.trainer = self.run.trainer()
        self.stages = recipe.stages
        self.network = self.trainer.network()
        self.steps, self.rows, self.epoch_images = steps, cast(Tensor | None, None), 0
        self.flags = current_flags()
        self.enter(0)

    def enter(self, index: int) -> None:
        """Begins a stage with the present network."""
        stage = self.stages[index]
        self.stage = self.trainer.begin(self.network, stage, index)
        sampler = cast(Any, self.stage.samplers[MAIN])
        sampler.draw = self._cut(sampler.draw)
        self.clock = Clock(stage.name, stage.epochs // 2, stage.epochs)  # in the middle, after all warm-ups

    def _cut(self, draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def drawn(*inputs: Any) -> Tensor:
            rows = draw(*inputs) if self.rows is None else self.rows
            self.epoch_images = len(rows)
            return rows if self.steps is None else rows[: self.steps * self.job.settings.batch_size]

        return drawn

    @property
    def train_set(self) -> Store:
        return self.trainer.context.splits.train

    def train_on(self, store: Store) -> None:
        """Replaces the store from which this stage reads its training images."""
        context = self.trainer.context
        self.stage.context = self.trainer.context = replace(context, splits=replace(context.splits, train=store))

    def train(self) -> dict[str, Any]:
        with flags(self.flags):
            return self.stage.epoch(self.clock)

    def settle(self) -> None:
        """Trains until every batch shape, including the smaller last batch, has passed its warm-up steps."""
        for _ in range(WARM_UP + 1 if self.run.context.device.type == "cuda" else 1):
            self.train()

    def evaluate(self) -> None:
        with flags(self.flags):
            self.trainer.evaluate(self.network)

    def images(self, split: str = "train") -> tuple[Tensor, Tensor]:
        """Returns the images of a split, uint8 (N, 3, 32, 32), and their labels (N,), on the CPU."""
        store = getattr(self.run.context.splits, split)
        batch = next(store.open([torch.arange(len(store))]))
        return batch.inputs.cpu(), batch.targets.labels.cpu()


class _Silent(Bar):
    def __init__(self, warnings: list[str]) -> None:
        super().__init__()
        self.console, self.warnings = Console(quiet=True), warnings

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)


def kernels(call: Callable[[], object]) -> list[tuple[str, float]]:
    """Returns name and microseconds of every kernel that a call runs on the CUDA device, in order."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    events = [event for event in profile.events() or [] if event.device_type.name == "CUDA"]
    return [(event.name, event.time_range.elapsed_us()) for event in events]


def run_command(*words: str, folder: Path) -> tuple[float, dict[Path, RunRecord]]:
    """Runs `ltrun *words`. Returns its seconds from start to end, start-up included, and folder -> record that it wrote."""
    command = [*LTRUN, *RANDOM_IMAGES, f"outputs={folder}", *words]
    search = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    begun = time.perf_counter()
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"ltrun {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return seconds, {path.parent: RunRecord.load(path) for path in sorted(folder.rglob(RESULT))}
