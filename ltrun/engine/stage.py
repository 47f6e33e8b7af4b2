"""One stage under way: its objective, samplers and optimizer, and an epoch of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ltrun.engine.monitor import LossMonitor
from ltrun.engine.objective import Objective
from ltrun.engine.step import Step
from ltrun.engine.turns import wait_for_device, yield_turn
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Descent, Network, Part, Sampler
from ltrun.recipe.stage import MAIN, Stage
from ltrun.types import Clock, Outputs, View, seed_of

Row = dict[str, Any]


class StageRun(nn.Module):
    """One stage under way: its objective and samplers, whose state is checkpointed, its optimizer and schedule."""

    def __init__(self, trainer: Any, network: Network, stage: Stage):
        super().__init__()
        torch.manual_seed(seed_of(trainer.seed, stage.name, "parts"))
        context = trainer.context()
        samplers = {name: s.sampler.build(context) for name, s in stage.streams.items() if s.sampler}
        context["sampler"] = samplers[MAIN]
        adjusts, weighs = [part.build(context) for part in stage.adjusts], [part.build(context) for part in stage.weighs]
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
        self.update = stage.update.build(context)
        self.to(trainer.device)
        self.trainer, self.stage = trainer, stage
        self.parts = [module for module in self.modules() if isinstance(module, Part)]
        inner = [p for p in self.parameters() if p.requires_grad and p not in outer]
        self.optimizer = stage.optimizer.build(context).build(inner)
        self.schedule = stage.schedule.build(context)
        self.base_rates = [group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups]
        behind = [*adjusts, context["classify"].criterion, *weighs]
        self.monitor = LossMonitor(terms, self.objective.need, list(mixers.values()), behind, trainer.device)
        self.step = Step(
            self.objective,
            self.update,
            self.optimizer,
            self.parts,
            self.monitor,
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
        self.monitor.begin()
        stores = [trainer.train_set.open(batches(plan, trainer.batch_size)) for plan in rows.values()]
        for drawn in zip(*stores, strict=True):
            self.step(dict(zip(rows, drawn, strict=True)))
            yield_turn()
        wait_for_device(trainer.device)
        images = len(rows[MAIN])
        losses = self.monitor.means(clock, images)
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


def set_rates(optimizer: Descent, rates: Sequence[float]) -> None:
    """The learning rate of each group of parameters; in place where it is a tensor."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
