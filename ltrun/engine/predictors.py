"""Predictors x evaluation splits -> metrics: the network's own prediction, and the post-hoc parts fitted to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ltrun.engine.context import RunContext
from ltrun.engine.evidence import SplitEvidence, fit
from ltrun.errors import TrainingError
from ltrun.loss import expect_shape
from ltrun.numerics import finite
from ltrun.parts import Augment, Network, PostHoc
from ltrun.tasks.base import Metrics
from ltrun.types import Labels, Outputs, seed_of

PLAIN = "plain"  # the network's own prediction


@dataclass(frozen=True)
class Predictors:
    """posthoc: parts that are not fitted yet, by name. augments: those of the training stream, for parts that ask for views."""

    network: Network
    context: RunContext
    posthoc: Mapping[str, PostHoc]
    augments: Sequence[Augment]

    def fit(self) -> None:
        """Fits the post-hoc parts one after the other; a split that several ask for as a whole passes the network once."""
        seen = {name: self._evidence(name) for name in ("train", "test_inputs", "val")}
        for name, part in self.posthoc.items():
            torch.manual_seed(seed_of(self.context.seed, "posthoc", name))
            fit(part, {split: evidence for split, evidence in seen.items() if evidence is not None})

    def _evidence(self, split: str) -> SplitEvidence | None:
        splits = self.context.splits
        store = {"train": splits.train, "test_inputs": splits.test, "val": splits.val}[split]
        if store is None:
            return None
        fields = {field for part in self.posthoc.values() if split in part.sees for field in part.reads}
        return SplitEvidence(self.network, self.context, store, fields, self.augments, hidden=split == "test_inputs")

    def measure(self) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
        """Name -> {"sees": splits, "splits": {split: metrics}}, and name -> scores (N, C) of the test split."""
        found: dict[str, dict[str, Any]] = {PLAIN: {"sees": [], "splits": {}}}
        found |= {name: {"sees": sorted(part.sees), "splits": {}} for name, part in self.posthoc.items()}
        test_scores: dict[str, list[Tensor]] = {name: [] for name in found}
        for split in self.context.evaluated:
            meters = {name: self.context.meter() for name in found}
            for outputs, targets in evaluated(self.network, self.context, split, self._fields()):
                for name, scores in self._scores(outputs).items():
                    meters[name].update(scores, targets)
                    if split == "test":
                        test_scores[name].append(scores.float())
            for name, meter in meters.items():
                found[name]["splits"][split] = meter.compute()
        return found, {name: torch.cat(scores) for name, scores in test_scores.items()}

    def _fields(self) -> set[str]:
        return {"logits"}.union(*(part.reads for part in self.posthoc.values()))

    @torch.no_grad()
    def _scores(self, outputs: Outputs) -> dict[str, Tensor]:
        plain = self.context.task.scores(outputs)
        scores = {PLAIN: plain}
        for name, part in self.posthoc.items():
            scores[name] = expect_shape(part, part(outputs.only(part.reads)), plain.shape)
            if not finite(scores[name]) and finite(plain):
                raise TrainingError(f"{type(part).__name__} returns scores that are not finite, of logits that are; mend it")
        return scores


def evaluated(network: Network, context: RunContext, split: str, fields: set[str]) -> Iterator[tuple[Outputs, Labels]]:
    """Outputs and targets of a split, batch by batch, on the host."""
    store = context.evaluated[split]
    targets, first = store.targets.to(torch.device("cpu")), 0
    for outputs in SplitEvidence(network, context, store, fields).batches():
        rows = torch.arange(first, first + len(outputs.need("logits")))
        yield outputs, targets.take(rows)
        first += len(rows)


def evaluate(network: Network, context: RunContext) -> dict[str, Metrics]:
    """The metrics of the network's own prediction on each split; nothing but the meters is kept."""
    found = {}
    for split in context.evaluated:
        meter = context.meter()
        for outputs, targets in evaluated(network, context, split, {"logits"}):
            meter.update(context.task.scores(outputs), targets)
        found[split] = meter.compute()
    return found
