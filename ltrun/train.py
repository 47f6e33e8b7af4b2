"""The loop. A method is a choice in a few typed slots; this file knows the slots and never a method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltrun.checkpoint import Checkpoints, on_host
from ltrun.errors import ConfigError, TrainingError
from ltrun.objective import Classification, Objective
from ltrun.optimizers import set_rates
from ltrun.parts import Head, Network, Part, Sampler, Store
from ltrun.precision import Precision
from ltrun.recipe import MAIN, Recipe, Stage
from ltrun.step import Compile, Step
from ltrun.turns import away, hand_on, wait_for
from ltrun.types import ClassStats, Clock, Outputs, View, seed_of
from ltrun.watch import Watch

Row = dict[str, Any]


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
            with away():
                self.checkpoints.save(f"{index}-{clock.stage}-{clock.epoch + 1}", state)
            self.saved = time.monotonic()

    def _network(self) -> Network:
        torch.manual_seed(seed_of(self.seed, "network"))
        first = self.recipe.stages[0]
        assert first.network is not None
        context = self.context()
        context["backbone"] = self.recipe.backbone.build(context)
        context["make_head"] = lambda features: first.head.build(context | {"features": features})
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return first.network.build(context).to(self.device, memory_format=layout)

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


class StageRun(nn.Module):
    """One stage under way: its objective and samplers, whose state is checkpointed, its optimizer and schedule."""

    def __init__(self, trainer: Trainer, network: Network, stage: Stage):
        super().__init__()
        torch.manual_seed(seed_of(trainer.seed, stage.name, "parts"))
        context = trainer.context()
        samplers = {name: s.sampler.build(context) for name, s in stage.streams.items() if s.sampler}
        context["sampler"] = samplers[MAIN]
        adjusts, weighs = ([part.build(context) for part in chain] for chain in (stage.adjusts, stage.weighs))
        criterion = stage.criterion.build(context) if stage.criterion else None
        context["classify"] = Classification(adjusts=adjusts, weighs=weighs, criterion=criterion)
        terms = {name: part.build(context) for name, (_, part) in stage.terms.items()}
        weights = {name: weight for name, (weight, _) in stage.terms.items()}
        if "classification" not in terms:
            terms, weights = {"classification": context["classify"], **terms}, {"classification": 1.0, **weights}
        augments = {
            name: [
                part.build(context)
                for part in (stage.streams[MAIN if stream.augments is None else name].augments or {}).values()
            ]
            for name, stream in stage.streams.items()
        }
        mixers = {name: part.build(context) for name, part in stage.mixers.items()}
        self.objective = Objective(network, trainer.normalise, augments, mixers, terms, weights, trainer.precision)
        self.samplers = nn.ModuleDict(samplers)
        owners = [module for module in self.modules() if isinstance(module, Part) and module.outer]
        outer = dict.fromkeys(parameter for part in owners for parameter in part.parameters())
        context["outer"] = list(outer)
        assert stage.update is not None
        self.update = stage.update.build(context)
        self.to(trainer.device)
        self.trainer, self.stage = trainer, stage
        self.parts = [module for module in self.modules() if isinstance(module, Part)]
        inner = [p for p in self.parameters() if p.requires_grad and p not in outer]
        self.optimizer = stage.optimizer.build(context).build(inner)
        self.schedule = stage.schedule.build(context)
        self.base_rates = [group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups]
        behind = [*adjusts, context["classify"].criterion, *weighs]
        self.watch = Watch(terms, self.objective.need, list(mixers.values()), behind, trainer.device)
        self.step = Step(
            self.objective,
            self.update,
            self.optimizer,
            self.parts,
            self.watch,
            [*self.parameters(), *self.buffers()],
            trainer.compile,
            trainer.device,
            trainer.warn,
        )
        self.best: Row | None = None

    @property
    def network(self) -> Network:
        return self.objective.network

    def epoch(self, clock: Clock) -> Row:
        """One pass over the main stream's rows, from generators that are a function of (seed, stage, epoch)."""
        trainer = self.trainer
        key = seed_of(trainer.seed, clock.stage, clock.epoch)
        torch.manual_seed(key)
        generator = torch.Generator().manual_seed(seed_of(key, "samplers"))
        for part in self.parts:
            part.adapt(View(clock, trainer.stats, self.predict, generator))
        rates = [rate * self.schedule.factor(clock) for rate in self.base_rates]
        set_rates(self.optimizer, rates)
        self._set_modes()
        rows = self._draw(clock, generator)
        self.watch.begin()
        stores = [trainer.train_set.open(batches(plan, trainer.batch_size)) for plan in rows.values()]
        for drawn in zip(*stores, strict=True):
            self.step(dict(zip(rows, drawn, strict=True)))
            hand_on()
        wait_for(trainer.device)
        images = len(rows[MAIN])
        losses = self.watch.means(clock, images)
        row = {"stage": clock.stage, "epoch": clock.epoch + 1, "epochs": clock.epochs, "learning_rate": rates[0]}
        return row | {"loss": losses.pop("total"), "losses": losses, "images": images}

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Outputs:
        training = self.network.training
        with self.trainer.precision.autocast():
            outputs = self.network.eval().predict(inputs)
        self.network.train(training)
        return outputs

    def remember_best(self, row: Row, select_best: bool) -> None:
        accuracy = row["evaluation"].get("val", {}).get("accuracy")
        if select_best and accuracy is not None and (self.best is None or accuracy > self.best["accuracy"]):
            network = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
            self.best = {"accuracy": accuracy, "epoch": row["epoch"], "network": network}

    def _set_modes(self) -> None:
        """Training mode, but for normalisation statistics that the stage freezes: see `norm` in recipe.Stage."""
        self.train()
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                frozen = all(not parameter.requires_grad for parameter in module.parameters())
                follows = self.stage.norm == "follow" and self.stage.trainable is not None and frozen
                if self.stage.norm == "hold" or follows:
                    module.eval()

    def _draw(self, clock: Clock, generator: torch.Generator) -> dict[str, Tensor]:
        """The row plan of an epoch for every stream, as long as the main one's."""
        targets, streams = self.trainer.train_set.targets, self.stage.streams
        rows = {
            name: cast(Sampler, self.samplers[name]).draw(targets, clock, generator)
            for name in streams
            if name in self.samplers
        }
        if empty := [name for name, plan in rows.items() if not len(plan)]:
            raise ConfigError(f"stage '{clock.stage}': the sampler of stream '{empty[0]}' draws no rows; choose another")
        length = len(rows[MAIN])
        rows = {name: plan[torch.arange(length) % len(plan)] for name, plan in rows.items()}
        return {name: rows[stream.of or name] for name, stream in streams.items()}


def batches(rows: Tensor, size: int) -> list[Tensor]:
    """The rows in batches; the last, smaller one is kept, and a lone last row joins the batch before it, because batch
    normalisation needs two."""
    split = list(rows.split(size))
    if len(split) > 1 and len(split[-1]) == 1:
        split[-2:] = [torch.cat(split[-2:])]
    return split
