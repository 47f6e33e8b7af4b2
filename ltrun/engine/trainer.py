"""The loop. A method is a choice in a few typed slots; this file knows the slots and never a method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, cast

import torch
from torch import nn

from ltrun.engine.checkpoint import Checkpoints, on_host
from ltrun.engine.precision import Precision
from ltrun.engine.stage import Row, StageRun
from ltrun.engine.step import Compile
from ltrun.engine.turns import released
from ltrun.errors import ConfigError, TrainingError
from ltrun.parts import Head, Network, Store
from ltrun.recipe.stage import Recipe, Stage
from ltrun.types import ClassStats, Clock, seed_of


@dataclass
class Trainer:
    """Trains the stages of a recipe one after the other.

    evaluate: network -> accuracies of an epoch. report: takes a row an epoch. warn: takes a sentence. A checkpoint is taken
    when a stage ends, and at the end of any other epoch if the last is checkpoint_seconds ago; saved: when that was.
    """

    recipe: Recipe
    train_set: Store
    stats: ClassStats
    normalise: nn.Module
    in_channels: int
    device: torch.device
    precision: Precision
    channels_last: bool
    compile: Compile
    seed: int
    batch_size: int
    evaluate: Callable[[Network], Mapping[str, Mapping[str, Any]]]
    evaluate_every: int
    checkpoints: Checkpoints
    checkpoint_seconds: float
    select_best: bool
    report: Callable[[Row], None]
    warn: Callable[[str], None]
    seconds: list[float] = field(default_factory=list)
    saved: float = field(init=False)

    def run(self) -> Network:
        """The trained network. Goes on from the newest checkpoint; on a CPU the result is then bit-equal."""
        self.saved = time.monotonic()
        saved = self.checkpoints.load(self.device, self.warn)
        reached, first_epoch = (saved["stage"], saved["epoch"]) if saved else (0, 0)
        self.seconds = list(saved["seconds"]) if saved else []
        network = self._network()
        for index, stage in enumerate(self.recipe.stages):
            self._enter(network, stage, index)
            if index < reached:
                continue
            running = StageRun(self, network, stage)
            if index == reached and saved:
                self._go_on(running, saved)
            self.seconds += [0.0] * (index + 1 - len(self.seconds))
            for epoch in range(first_epoch if index == reached else 0, stage.epochs):
                self._epoch(running, index, Clock(stage.name, epoch, stage.epochs))
            if self.select_best and index == len(self.recipe.stages) - 1 and running.best is not None:
                network.load_state_dict(running.best["network"])
        return network

    def _go_on(self, running: StageRun, saved: Mapping[str, Any]) -> None:
        """Raises TrainingError where the checkpoint is that of other data or other parts."""
        folder = self.checkpoints.folder
        if saved.get("counts", self.stats.counts.tolist()) != self.stats.counts.tolist():
            raise TrainingError(f"the training images are not those that {folder} was begun with; force=true begins it anew")
        try:
            running.load_state_dict(saved["module"])
            running.optimizer.load_state_dict(saved["optimizer"])
            running.best = saved["best"]
        except (RuntimeError, KeyError, ValueError) as error:
            raise TrainingError(
                f"the checkpoint in {folder} does not fit this run, whose parts or classes are others now; force=true begins "
                f"it anew ({str(error).splitlines()[0]})"
            ) from None

    def _epoch(self, running: StageRun, index: int, clock: Clock) -> None:
        begun = time.perf_counter()
        row = running.epoch(clock)
        trained = time.perf_counter() - begun
        last = clock.epoch + 1 == clock.epochs
        if last or (clock.epoch + 1) % self.evaluate_every == 0:
            row["evaluation"] = self.evaluate(running.network)
            running.remember_best(row, self.select_best)
        self.seconds[index] += time.perf_counter() - begun
        self.report(row | {"seconds": round(trained, 4), "images_per_second": round(row["images"] / trained, 1)})
        if last or time.monotonic() - self.saved >= self.checkpoint_seconds:
            state = {"stage": index, "epoch": clock.epoch + 1, "seconds": self.seconds, "best": running.best}
            state |= {"counts": self.stats.counts.tolist()}
            state |= {"module": running.state_dict(), "optimizer": running.optimizer.state_dict()}
            state = on_host(state)  # while it is this run's turn: others may have torch refuse to wait for the device
            with released():
                self.checkpoints.save(f"{index}-{clock.stage}-{clock.epoch + 1}", state)
            self.saved = time.monotonic()

    def _network(self) -> Network:
        torch.manual_seed(seed_of(self.seed, "network"))
        first = self.recipe.stages[0]
        context = self.context()
        context["backbone"] = self.recipe.backbone.build(context)
        context["make_head"] = lambda features: first.head.build(context | {"features": features})
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return first.network.build(context).to(self.device).to(memory_format=layout)

    def context(self) -> dict[str, Any]:
        return {
            "stats": self.stats,
            "num_classes": self.stats.num_classes,
            "in_channels": self.in_channels,
            "normalise": self.normalise,
        }

    def _enter(self, network: Network, stage: Stage, index: int) -> None:
        """Resets, wraps and freezes what the stage asks for; a function of the seed and the stage alone."""
        torch.manual_seed(seed_of(self.seed, stage.name, "enter"))
        for name in network.head_names():
            head = cast(Head, network.get_submodule(name))
            if stage.reset_head and index:
                head = stage.head.build(self.context() | {"features": head.classes.shape[1]})
            if stage.wrap is not None:
                head = stage.wrap.build(self.context() | {"head": head})
            network.set_submodule(name, head.to(self.device))
        names = [name for name, _ in network.named_parameters()]
        for pattern in stage.trainable or []:
            if not any(fnmatch(name, pattern) for name in names):
                raise ConfigError(f"stages.{stage.name}.trainable: no parameter of the network matches '{pattern}'")
        for name, parameter in network.named_parameters():
            chosen = stage.trainable is None or any(fnmatch(name, pattern) for pattern in stage.trainable)
            parameter.requires_grad_(chosen)
