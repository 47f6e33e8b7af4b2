"""Training loop over stages and epochs. A method is a choice in typed slots; this file knows the slots and never a method."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from ltrun.engine import levers
from ltrun.engine.checkpoint import Checkpoints, on_host
from ltrun.engine.context import RunContext
from ltrun.engine.frozen import Frozen
from ltrun.engine.norms import stop_counting
from ltrun.engine.promises import check_backbone
from ltrun.engine.stage import Row, StageRun
from ltrun.engine.step import leaves
from ltrun.engine.sync_norm import synchronise
from ltrun.engine.turns import released
from ltrun.errors import ConfigError, DataError, TrainingError
from ltrun.parts import Head, Network
from ltrun.recipe.stage import Recipe, Stage, Teacher
from ltrun.types import Clock, seed_of

log = logging.getLogger(__name__)
UNDER_WAY: set[Trainer] = set()  # trainers of this process, each in a thread of its own
SHARE = 50  # an epoch's state is copied to memory once 50 times the duration of the last copy has passed


@dataclass(eq=False)
class Trainer:
    """Trains the stages of a recipe one after the other.

    evaluate: network -> metrics of an epoch, by split. report: takes a row per epoch. step: takes the clock, the batches done
    and the batches of the epoch. seconds: training time of each stage, earlier processes included. images: rows that the main
    stream has drawn in all stages. A checkpoint is written when a stage ends, and after any other epoch if the last one, at
    `saved`, is runtime.checkpoint_seconds old. pending: name and state of an epoch that is not on disk yet; an interrupt
    writes it, and so loses no more than the epoch under way.
    """

    recipe: Recipe
    context: RunContext
    checkpoints: Checkpoints
    evaluate: Callable[[Network], Mapping[str, Mapping[str, Any]]]
    report: Callable[[Row], None]
    step: Callable[[Clock, int, int], None] = lambda *_: None
    seconds: list[float] = field(default_factory=list)
    images: int = 0
    saved: float = field(init=False)
    pending: tuple[str, dict[str, Any]] | None = field(init=False, default=None)
    kept: float = field(init=False, default=0.0)  # when `pending` was copied, and the seconds that took, by perf_counter
    took: float = field(init=False, default=0.0)
    writing: threading.Lock = field(init=False, default_factory=threading.Lock)

    def run(self) -> Network:
        """Returns the trained network. Resumes from the newest checkpoint; on a CPU that changes no bit of the result."""
        UNDER_WAY.add(self)
        try:
            return self._run()
        except KeyboardInterrupt:
            self.rescue()
            raise
        finally:
            UNDER_WAY.discard(self)

    def _run(self) -> Network:
        self.saved = time.monotonic()
        saved = self.context.ranks.from_first(self._saved)
        reached, first_epoch = (saved["stage"], saved["epoch"]) if saved else (0, 0)
        self.seconds = list(saved["seconds"]) if saved else []
        self.images = saved.get("images", 0) if saved else 0
        network = self.network()
        for index, stage in enumerate(self.recipe.stages):
            if index < reached:
                self.enter(network, stage, index)
                continue
            running = self.begin(network, stage, index)
            if index == reached and saved:
                self._go_on(running, saved)
            self._agree(running)
            self.seconds += [0.0] * (index + 1 - len(self.seconds))
            for epoch in range(first_epoch if index == reached else 0, stage.epochs):
                self._epoch(running, index, Clock(stage.name, epoch, stage.epochs))
            if running.average is not None:
                running.average.settle(network)
            if self._selects_best and index == len(self.recipe.stages) - 1 and running.best is not None:
                network.load_state_dict(running.best["network"])
        return network

    def _saved(self) -> dict[str, Any] | None:
        """Returns the newest intact checkpoint, if any. Raises DataError if it belongs to other data."""
        saved = self.checkpoints.load(self.context.device, self.context.warn)
        self._check_data(saved or {})
        return saved

    def _agree(self, running: StageRun, losses: Mapping[str, float] = MappingProxyType({})) -> None:
        """Makes all ranks continue from one state; batch statistics of their shares are averaged. See `Ranks.agree`.

        losses: of the epoch. They differ where random numbers made the streams of the ranks differ, as their states might not.
        """
        ranks = self.context.ranks
        if not ranks.alone:
            networks = dict.fromkeys([running.network, running.judged])
            ranks.average([buffer for one in networks for buffer in one.buffers() if buffer.is_floating_point()])
            optimizer = {f"optimizer.{index}": tensor for index, tensor in enumerate(leaves(running.optimizer.state_dict()))}
            means = {f"the loss {name}": torch.tensor([value, 1.0]) for name, value in losses.items()}  # 1: also near zero
            ranks.agree(running.state_dict() | optimizer | {n: t.to(self.context.device) for n, t in means.items()})

    @property
    def _selects_best(self) -> bool:
        return self.context.settings.selection == "best_val"

    def _check_data(self, saved: Mapping[str, Any]) -> None:
        """Raises DataError if a checkpoint belongs to other data. Checkpoints of old versions hold only the class sizes.

        Warns of streamed images that were written since the run began.
        """
        folder, counts = self.checkpoints.folder, self.context.stats.counts.tolist()
        told = self.context.listing.difference(saved.get("data", {}), folder) if saved else None
        if told is None and saved.get("counts", counts) != counts:
            told = "the classes have different numbers of training images"
        if told is not None:
            raise DataError(
                f"{folder} was begun with other data: {told}; restore the data to resume, or train from scratch with force=true"
            )
        if told := self.context.listing.written(saved.get("data", {}), folder, saved.get("times")):
            self.context.warn(f"{folder}: {told}")

    def _go_on(self, running: StageRun, saved: Mapping[str, Any]) -> None:
        """Loads a stage from its checkpoint. Raises TrainingError if the checkpoint belongs to other parts."""
        folder = self.checkpoints.folder
        try:
            running.load_state_dict(saved["module"])
            running.optimizer.load_state_dict(saved["optimizer"])
            running.best = saved["best"]
        except (RuntimeError, KeyError, ValueError) as error:
            raise TrainingError(
                f"the checkpoint in {folder} does not fit this run, whose parts or classes have changed; force=true trains it "
                f"from scratch ({str(error).splitlines()[0]})"
            ) from None

    def _epoch(self, running: StageRun, index: int, clock: Clock) -> None:
        settings, begun = self.context.settings, time.perf_counter()
        row = self._train(running, clock)
        self._agree(running, row["losses"])
        trained = time.perf_counter() - begun
        last = clock.epoch + 1 == clock.epochs
        if last or (clock.epoch + 1) % settings.evaluation.every == 0:
            running.renew_statistics(clock)
            row["evaluation"] = self.evaluate(running.judged)
            if self._selects_best:
                running.remember_best(row)
        self.seconds[index] += time.perf_counter() - begun
        self.images += row["images"]
        row |= {"seconds": round(trained, 4), "images_per_second": round(row["images"] / trained, 1)}
        self.context.ranks.from_first(lambda: self._save(running, index, clock, row))

    def _save(self, running: StageRun, index: int, clock: Clock, row: Row) -> None:
        """Reports an epoch, and writes its checkpoint where one is due."""
        self.report(row)
        last = clock.epoch + 1 == clock.epochs
        due = last or time.monotonic() - self.saved >= self.context.settings.runtime.checkpoint_seconds
        if due or time.perf_counter() - self.kept >= SHARE * self.took:
            self._keep(running, index, clock)
        if due:
            with released():
                self._write()
            self.saved = time.monotonic()

    def _train(self, running: StageRun, clock: Clock) -> Row:
        """Trains an epoch. Raises TrainingError if its loss is not finite, and names the checkpoint that is kept."""
        try:
            return running.epoch(clock, self.step)
        except TrainingError as error:
            self._write()
            if not self.checkpoints.entries:
                raise
            raise TrainingError(f"{error}; the checkpoint {self.checkpoints.entries[0]['file']} is kept") from None

    def _keep(self, running: StageRun, index: int, clock: Clock) -> None:
        """Copies the state of an epoch to the host, in this run's turn: another run may have made torch refuse to wait."""
        begun = time.perf_counter()
        self.context.splits.check_files()
        state = {"stage": index, "epoch": clock.epoch + 1, "seconds": list(self.seconds), "best": running.best}
        state |= {"images": self.images, "data": self.context.listing.data, "times": self.context.listing.times}
        state |= {"module": running.state_dict(), "optimizer": running.optimizer.state_dict()}
        self.pending = f"{index}-{clock.stage}-{clock.epoch + 1}", on_host(state)
        self.kept = time.perf_counter()
        self.took = self.kept - begun

    def _write(self) -> None:
        """Writes the pending checkpoint, if there is one. Raises TrainingError."""
        with self.writing:
            if self.pending is not None:
                self.checkpoints.save(*self.pending)
                self.pending = None

    def rescue(self) -> None:
        """Writes the pending checkpoint before the process ends; logs a failure."""
        try:
            self._write()
        except TrainingError as error:
            log.warning(str(error))

    def network(self, *stage: str) -> Network:
        """Builds the network of the first stage; its random draws depend on the seed, and on the stage that resets it."""
        torch.manual_seed(seed_of(self.context.seed, "network", *stage))
        first, injected = self.recipe.stages[0], self.context.injected()
        backbone = injected["backbone"] = self.recipe.backbone.build(injected)
        check_backbone(backbone)
        injected["make_head"] = lambda features: first.head.build(injected | {"features": features})
        layout = torch.channels_last if self.context.settings.runtime.channels_last else torch.contiguous_format
        network = cast(nn.Module, first.network.build(injected))
        if self.context.settings.runtime.sync_bn and not self.context.ranks.alone:
            synchronise(network, self.context.ranks)
        levers.use(network, self.context.settings.runtime)
        return cast(Network, network.to(self.context.device, memory_format=layout))  # type: ignore[call-overload]

    def begin(self, network: Network, stage: Stage, index: int) -> StageRun:
        """Enters a stage with its teachers; the network as the previous stage left it may be one of them."""
        left = {name: Frozen(network) for name, teacher in stage.teachers.items() if teacher.previous}
        self.enter(network, stage, index)
        teachers = {name: left.get(name) or self._teacher(teacher, network) for name, teacher in stage.teachers.items()}
        return StageRun.of(stage, network, self.context, teachers)

    def _teacher(self, teacher: Teacher, network: Network) -> Frozen:
        teach = self.context.teach
        return Frozen(network if teach is None else teach(teacher, self.context))

    def enter(self, network: Network, stage: Stage, index: int) -> None:
        """Resets, wraps and freezes the parts of the network that the stage names; draws depend on seed and stage alone."""
        if stage.reset_network and index:
            self._reset(network, stage)
        torch.manual_seed(seed_of(self.context.seed, stage.name, "enter"))
        injected = self.context.injected()
        for name in network.head_names():
            head = cast(Head, network.get_submodule(name))
            if stage.reset_head and index:
                head = stage.head.build(injected | {"features": head.classes.shape[1]})
            if stage.wrap is not None:
                head = stage.wrap.build(injected | {"head": head})
            network.set_submodule(name, head.to(self.context.device))
        names = [name for name, _ in network.named_parameters()]
        for pattern in stage.trainable or []:
            if not any(fnmatch(name, pattern) for name in names):
                raise ConfigError(f"stages.{stage.name}.trainable: no parameter of the network matches '{pattern}'")
        for name, parameter in network.named_parameters():
            chosen = stage.trainable is None or any(fnmatch(name, pattern) for pattern in stage.trainable)
            if parameter.is_floating_point() or parameter.is_complex():  # integers have no gradient
                parameter.requires_grad_(chosen)

    def _reset(self, network: Network, stage: Stage) -> None:
        """Gives a network the weights of a new one, drawn for this stage. Raises ConfigError if its heads were wrapped."""
        fresh = self.network(stage.name)
        for one in (fresh, network):  # a stage that was trained counts no batches, one that a resumed run leaves out still does
            stop_counting(one)
        if fresh.state_dict().keys() != network.state_dict().keys():
            raise ConfigError(
                f"stages.{stage.name}.reset_network: an earlier stage has wrapped the classifier; drop one of them"
            )
        network.load_state_dict(fresh.state_dict())


def rescue_all() -> None:
    """Has each run of this process write its pending checkpoint."""
    for trainer in list(UNDER_WAY):
        trainer.rescue()
