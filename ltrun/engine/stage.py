"""A training stage: its objective, samplers and optimizer, and the loop of one epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltrun.data.crop import drawn
from ltrun.engine import levers
from ltrun.engine.assembly import classification_of, objective_of
from ltrun.engine.average import Averaged, OfEpochs, OfSteps
from ltrun.engine.context import RunContext
from ltrun.engine.frozen import Frozen
from ltrun.engine.monitor import LossMonitor
from ltrun.engine.norms import stop_counting
from ltrun.engine.objective import Objective
from ltrun.engine.promises import check_rows
from ltrun.engine.step import Step
from ltrun.engine.turns import wait_for_device, yield_turn
from ltrun.errors import ConfigError
from ltrun.optimizer.base import Optimizer
from ltrun.parts import Average, Descent, Network, Part, Sampler, Update
from ltrun.recipe.stage import MAIN, Stage
from ltrun.schedule.base import Schedule
from ltrun.types import Batch, Clock, MultiHot, Outputs, View, seed_of

NONE: Mapping[str, Any] = MappingProxyType({})
Row = dict[str, Any]
Context = dict[str, Any]  # values that constructors of parts may ask for, by name


class StageRun(nn.Module):
    """objective, samplers, update: modules whose state is checkpointed. optimizer: updates their parameters. schedule: sets the
    optimizer's learning rate. behind: parts of the loss whose outputs are monitored. best: the best epoch so far on the
    validation split, with selection=best_val. average: of the network's weights, where there is one.
    """

    average: Averaged | None

    def __init__(
        self,
        stage: Stage,
        context: RunContext,
        objective: Objective,
        samplers: Mapping[str, Sampler],
        update: Update,
        schedule: Schedule,
        behind: Sequence[nn.Module],
        average: Average | None = None,
    ):
        super().__init__()
        self.stage, self.context, self.schedule = stage, context, schedule
        self.objective, self.samplers, self.update = objective, nn.ModuleDict(dict(samplers)), update
        stop_counting(self)
        self.to(context.device)
        frozen = set(objective.teachers.modules())
        self.parts = [module for module in self.modules() if isinstance(module, Part) and module not in frozen]
        outer = set(outer_parameters(self))
        named = {name.removeprefix("objective."): p for name, p in self.named_parameters() if p not in outer}
        inner = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        self.optimizer = _optimizer(stage, context.injected() | {"parameter_names": list(named)}, inner)
        if objective.scaler is not None:
            objective.scaler.serve(self.optimizer)
        decay = context.settings.runtime.ema
        self.average = OfEpochs(objective.network, average) if average else None
        self.average = self.average if decay is None else OfSteps(objective.network, decay)
        self.base_rates = [group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups]
        mixers = [*objective.mixers.values(), *objective.feature_mixers.values()]
        self.monitor = LossMonitor(objective.terms, objective.need, mixers, behind, context.device)
        tensors = [*self.parameters(), *self.buffers()]
        follow = None if self.average is None else self.average.follow
        self.step = Step(objective, update, self.optimizer, self.monitor, self.parts, tensors, context, follow)
        self.rates: list[float] = []
        self.best: Row | None = None

    @classmethod
    def of(cls, stage: Stage, network: Network, context: RunContext, teachers: Mapping[str, Frozen] = NONE) -> StageRun:
        """Builds the parts of a stage; their random draws depend on the seed and the stage alone."""
        torch.manual_seed(seed_of(context.seed, stage.name, "parts"))
        injected = context.injected() | {"network": network, "teachers": teachers, "prepare": context.prepare}
        if any(part.wants("features") for part in stage.parts() if part not in (stage.network, stage.head, stage.wrap)):
            injected["features"] = network.features
        samplers = {name: stream.sampler.build(injected) for name, stream in stage.streams.items() if stream.sampler}
        injected |= {"sampler": samplers[MAIN], "samplers": samplers}
        classify = injected["classify"] = classification_of(stage, injected)
        objective = objective_of(stage, network, context, injected, teachers)
        injected["outer"] = outer_parameters(objective, *samplers.values())
        update, schedule = stage.update.build(injected), stage.schedule.build(injected)
        behind = [*classify.adjusts, classify.criterion, *classify.weighs]
        average = stage.average.build(injected) if stage.average else None
        return cls(stage, context, objective, samplers, update, schedule, behind, average)

    @property
    def network(self) -> Network:
        return self.objective.network

    @property
    def judged(self) -> Network:
        """The network that is evaluated and kept: the averaged one, where there is an average."""
        return self.average.network if self.average is not None and self.average.begun else self.network

    def epoch(self, clock: Clock, told: Callable[[Clock, int, int], None] = lambda *_: None) -> Row:
        """Trains one pass over the main stream's rows, with generators seeded from (seed, stage, epoch); returns the row.

        told: takes the clock, the batches done and the batches of the epoch.
        """
        context = self.context
        rows, rates = self._begin(clock)
        self.monitor.begin()
        steps = len(batches(rows[MAIN], context.settings.batch_size))
        for done, streams in enumerate(self._streams(rows, clock), 1):
            self._set_rates(replace(clock, within=(done - 1) / steps))
            self.step(streams)
            told(clock, done, steps)
            yield_turn()
        wait_for_device(context.device)
        if self.average is not None:
            self.average.take(clock)
        images = len(rows[MAIN])
        losses = self.monitor.means(clock, images)
        row = {"stage": clock.stage, "epoch": clock.epoch + 1, "epochs": clock.epochs, "learning_rate": rates[0]}
        return row | {"loss": losses.pop("total"), "losses": losses, "images": images}

    def rehearse(self) -> None:
        """Takes a step with the smallest batch of the first epoch. It trains: use it only on a stage that is thrown away."""
        clock = Clock(self.stage.name, 0, self.stage.epochs)
        rows, _ = self._begin(clock)
        few = {name: min(batches(plan, self.context.settings.batch_size), key=len) for name, plan in rows.items()}
        self.step.take({name: next(self._batches(name, [plan], clock)) for name, plan in few.items()})

    def _begin(self, clock: Clock) -> tuple[dict[str, Tensor], list[float]]:
        """Adapts the parts and sets the learning rates; returns the rows of an epoch by stream, and the rate of each group."""
        key = seed_of(self.context.seed, clock.stage, clock.epoch)
        torch.manual_seed(key)
        generator = torch.Generator().manual_seed(seed_of(key, "samplers"))
        for part in self.parts:
            part.adapt(self.view(clock, generator, part))
        rates = self._set_rates(clock)
        self._set_modes()
        return self._draw(clock, generator), rates

    def _set_rates(self, clock: Clock) -> list[float]:
        """Sets the learning rates of an epoch, or of a step where the schedule has one for each; returns them."""
        rates = [rate * self.schedule.factor(clock) for rate in self.base_rates]
        if rates != self.rates:
            set_rates(self.optimizer, rates)
        self.rates = rates
        return rates

    def view(self, clock: Clock, generator: torch.Generator, part: Part) -> View:
        """Returns what a part may look at before an epoch."""
        labels, chains = self.context.splits.train.targets.labels, self.objective.augments
        augment = next((chain for chain in chains.values() if part in chain.children()), chains[MAIN])
        return View(clock, self.context.stats, self._open, self.predict, generator, labels, augment, self.maps)

    @torch.no_grad()
    def predict(self, inputs: Tensor, by: str | None = None) -> Outputs:
        """Returns the outputs of stored inputs, in evaluation mode. by: name of a teacher, None for the network."""
        network, training = self.network, self.network.training
        asked = network.eval() if by is None else cast(Frozen, self.objective.teachers[by])
        with self.context.precision.autocast():
            outputs = self.context.ranks.predict(asked.predict, self.context.prepare(inputs))
        network.train(training)
        return outputs

    def _streams(self, rows: Mapping[str, Tensor], clock: Clock) -> Iterator[dict[str, Batch]]:
        """Yields the batches of an epoch. rows: of each stream."""
        plans = {name: batches(plan, self.context.settings.batch_size) for name, plan in rows.items()}
        stores = [self._batches(name, plan, clock) for name, plan in plans.items()]
        for streams in zip(*stores, strict=True):
            yield dict(zip(rows, streams, strict=True))

    def renew_statistics(self, clock: Clock) -> None:
        """Gives an average over epochs batch statistics of its own, from rows drawn as for another epoch."""
        if self.average is None or not self.average.renews:
            return
        key = seed_of(self.context.seed, clock.stage, clock.epoch, "statistics")
        torch.manual_seed(key)
        rows = self._draw(clock, torch.Generator().manual_seed(seed_of(key, "samplers")))
        self._set_modes()
        self.average.renew(self.network, (partial(self._pass, streams) for streams in self._streams(rows, clock)))
        self.context.ranks.average([buffer for buffer in self.judged.buffers() if buffer.is_floating_point()])

    def _pass(self, streams: Mapping[str, Batch], network: Network) -> dict[str, Outputs]:
        prepared = self.objective.prepared(streams)
        with self.context.precision.autocast():
            return self.context.ranks.forward(network, prepared, self.objective.need)

    @torch.no_grad()
    def maps(self, inputs: Tensor) -> Tensor:
        """Returns the last maps (B, D, h, w) of stored inputs, in evaluation mode. Raises ConfigError where there are none."""
        network, training = self.network, self.network.training
        *before, _ = network.eval().pieces()
        with self.context.precision.autocast():
            maps = self.context.prepare(inputs)
            for _, piece in before:
                maps = piece(maps)
        network.train(training)
        if not before or maps.ndim != 4:
            raise ConfigError("network: it has no maps before its features, which an option reads; choose another network")
        return maps

    def _batches(self, stream: str, plan: Sequence[Tensor], clock: Clock) -> Iterator[Batch]:
        late = levers.gathers_in_the_step(self.context.settings.runtime)
        crop = self.objective.crops.get(stream)
        plan, classes = ([rows[:, 0] for rows in plan], [rows[:, 1] for rows in plan]) if plan[0].dim() == 2 else (plan, None)
        cuts = drawn(crop, seed_of(self.context.seed, clock.stage, clock.epoch, "crops", stream), plan) if crop else None
        found = self.context.ranks.open(self.context.store(self.stage.split_of(stream)), plan, late, cuts)
        return found if classes is None else map(only, found, classes)

    def _open(self, rows: Tensor, split: str = "train") -> Batch:
        return next(self.context.ranks.open(self.context.store(split), [rows]))

    def remember_best(self, row: Row) -> None:
        """Keeps the network of an epoch that is the best so far on the validation split, by the task's first metric.

        Only epochs of this stage compete: the network of an earlier stage lacks parts that this one trains, such as a new head.
        """
        metric = self.context.task.metrics[0]
        value = row["evaluation"].get("val", {}).get(metric.name)
        if value is not None and (self.best is None or metric.improves(value, self.best["value"])):
            network = {name: tensor.clone() for name, tensor in self.judged.state_dict().items()}
            self.best = {"value": value, "epoch": row["epoch"], "network": network}

    def _set_modes(self) -> None:
        """Sets training mode, except for normalisation statistics that the stage freezes: see `norm` in recipe.Stage."""
        self.train()
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                frozen = all(not parameter.requires_grad for parameter in module.parameters())
                follows = self.stage.norm == "follow" and self.stage.trainable is not None and frozen
                if self.stage.norm == "hold" or follows:
                    module.eval()

    def _draw(self, clock: Clock, generator: torch.Generator) -> dict[str, Tensor]:
        """Returns stream -> rows of an epoch as samplers draw them, repeated or cut to the length of the main stream's rows."""
        streams = self.stage.streams
        samplers = {name: cast(Sampler, self.samplers[name]) for name in streams if name in self.samplers}
        targets = {name: self.context.store(streams[name].split).targets for name in samplers}
        drawn = {name: sampler.draw(targets[name], clock, generator) for name, sampler in samplers.items()}
        for name, plan in drawn.items():
            check_rows(plan, len(targets[name]), samplers[name], f"stage '{clock.stage}': the sampler of stream '{name}'")
        rows = self.context.ranks.from_first(lambda: drawn)  # all ranks drew, so that all samplers and generators move alike
        length = len(rows[MAIN])
        rows = {name: plan[torch.arange(length) % len(plan)] for name, plan in rows.items()}
        return {name: rows[stream.of or name] for name, stream in streams.items()}


def only(batch: Batch, classes: Tensor) -> Batch:
    """Leaves out the losses of each row's labels, except at the class (B,) for which the row was drawn."""
    targets = cast(MultiHot, batch.targets)
    return batch.replace(targets=targets.only(classes.to(targets.device)))


def outer_parameters(*modules: nn.Module) -> list[nn.Parameter]:
    """Returns the parameters of parts with `outer`, which the update learns instead of the optimizer."""
    owners = [part for module in modules for part in module.modules() if isinstance(part, Part) and part.outer]
    return list(dict.fromkeys(parameter for part in owners for parameter in part.parameters()))


def set_rates(optimizer: Descent, rates: Sequence[float]) -> None:
    """Sets the learning rate of each group of parameters; in place where the rate is a tensor."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _optimizer(stage: Stage, injected: Context, parameters: Mapping[str, nn.Parameter]) -> Descent:
    """Builds the optimizer of the parameters that a stage trains. Raises ConfigError, with the key path."""
    made: Optimizer = stage.optimizer.build(injected)
    try:
        return made.build(parameters)
    except ConfigError as error:
        raise ConfigError(f"{stage.optimizer.path}.{error}") from None


def batches(rows: Tensor, size: int) -> list[Tensor]:
    """Splits rows into batches. A smaller last batch is kept; a lone last row joins the batch before it, because batch
    normalisation needs two rows."""
    split = list(rows.split(size))
    if len(split) > 1 and len(split[-1]) == 1:
        split[-2:] = [torch.cat(split[-2:])]
    return split
