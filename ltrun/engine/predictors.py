"""Predictors of a run, fitted and measured on each split: the network's own prediction and the post-hoc parts."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ltrun.engine.context import RunContext
from ltrun.engine.evidence import SplitEvidence, fit
from ltrun.errors import LtrunError, TrainingError
from ltrun.loss import expect_shape
from ltrun.numerics import finite
from ltrun.parts import Augment, Network, PostHoc
from ltrun.results import mapped
from ltrun.results.record import EXPERT
from ltrun.tasks.base import Metrics
from ltrun.types import Outputs, Targets, seed_of

T = TypeVar("T")
PLAIN = "plain"  # name of the network's own prediction


@dataclass(frozen=True)
class Predictors:
    """posthoc: parts by name, not yet fitted. augments: augmentations of the training stream, for parts that ask for augmented
    outputs. own: augmentations of the data set alone, for parts that bring further `views`.

    lost: name of a part -> why it has no row. A part that raises loses its own row; other rows and the training are kept.
    """

    network: Network
    context: RunContext
    posthoc: Mapping[str, PostHoc]
    augments: Sequence[Augment]
    own: Sequence[Augment] = ()
    lost: dict[str, str] = field(default_factory=dict)

    def fit(self) -> None:
        """Fits the post-hoc parts in turn. A split that several parts ask for as a whole passes through the network once."""
        seen = {name: self._evidence(name) for name in ("train", "test_inputs", "val")}
        given = {split: evidence for split, evidence in seen.items() if evidence is not None}
        for name, part in self.posthoc.items():
            torch.manual_seed(seed_of(self.context.seed, "posthoc", name))
            views: Augment | None = getattr(part, "views", None)
            shown = given if views is None else {split: self._viewed(evidence, views) for split, evidence in given.items()}
            self._try(name, lambda part=part, shown=shown: fit(part, shown))  # type: ignore[misc]

    def _viewed(self, evidence: SplitEvidence, views: Augment) -> SplitEvidence:
        """Returns evidence of the same split, augmented by the data set's augmentations and then by `views`."""
        other = copy(evidence)
        other.augments = [*self.own, views.to(self.context.device)]
        return other

    def _try(self, name: str, work: Callable[[], T]) -> T | None:
        """Returns the result of a part's work, or None if it raises: the part then loses its row, and the user is warned."""
        try:
            return work()
        except LtrunError as error:
            reason = str(error)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__}: {' '.join(str(error).split())} ({last.filename}, line {last.lineno})"
        self.lost[name] = reason
        self.context.warn(f"post-hoc row '{name}' is left out: {reason}")
        return None

    def _evidence(self, split: str) -> SplitEvidence | None:
        splits = self.context.splits
        store = {"train": splits.train, "test_inputs": splits.test, "val": splits.val}[split]
        if store is None:
            return None
        fields = {field for part in self.posthoc.values() if split in part.sees for field in part.reads}
        return SplitEvidence(self.network, self.context, store, fields, self.augments, hidden=split == "test_inputs")

    def measure(self) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
        """Returns name -> {"sees": splits, "splits": {split: metrics}}, and name -> scores (N, C) of the test split.

        The experts of an ensemble are predictors of their own, without scores. Large scores are in temporary files: see
        `mapped.empty`.
        """
        found: dict[str, dict[str, Any]] = {PLAIN: {"sees": [], "splits": {}}}
        found |= {name: {"sees": sorted(part.sees), "splits": {}} for name, part in self.posthoc.items()}
        test_scores: dict[str, Tensor] = {}
        for split in self.context.evaluated:
            meters, count, done = {name: self.context.meter() for name in found}, len(self.context.evaluated[split]), 0
            for outputs, targets in evaluated(self.network, self.context, split, self._fields()):
                for name, scores in (self._scores(outputs) | self._of_experts(outputs)).items():
                    if name not in meters:
                        meters[name] = self.context.meter()
                    meters[name].update(scores, targets)
                    if split == "test" and not name.startswith(EXPERT):
                        if name not in test_scores:
                            what = f"the scores of predictor '{name}' for {count:,} images"
                            test_scores[name] = mapped.empty((count, scores.shape[1]), torch.float32, what)
                        test_scores[name][done : done + len(scores)] = scores
                done += len(targets)
            for name, meter in meters.items():
                found.setdefault(name, {"sees": [], "splits": {}})
                found[name]["splits"][split] = meter.compute() if name not in self.lost else None
        kept = {name: rows for name, rows in found.items() if name not in self.lost}
        return kept, {name: test_scores[name] for name in kept if name in test_scores}

    def _fields(self) -> set[str]:
        return {"logits", "experts"}.union(*(part.reads for part in self.posthoc.values()))

    @torch.no_grad()
    def _of_experts(self, outputs: Outputs) -> dict[str, Tensor]:
        """Returns the scores of each expert, if the network has several."""
        several = () if outputs.experts is None else outputs.experts
        return {f"{EXPERT}{i + 1}": self.context.task.scores(replace(outputs, logits=x)) for i, x in enumerate(several)}

    @torch.no_grad()
    def _scores(self, outputs: Outputs) -> dict[str, Tensor]:
        plain = self.context.task.scores(outputs)
        scores = {PLAIN: plain}
        for name, part in self.posthoc.items():
            if name not in self.lost:
                found = self._try(name, lambda part=part: _scored(part, outputs, plain))  # type: ignore[misc]
                scores |= {} if found is None else {name: found}
        return scores


def _scored(part: PostHoc, outputs: Outputs, plain: Tensor) -> Tensor:
    """Returns the (B, C) scores of a part. Raises TrainingError if they are not finite and the network's own, `plain`, are."""
    scores = asked(part, outputs.only(part.reads), plain)
    if not finite(scores) and finite(plain):
        raise TrainingError(f"{type(part).__name__} returns scores that are not finite for finite logits; correct its forward")
    return scores


def asked(part: PostHoc, outputs: Outputs, plain: Tensor) -> Tensor:
    """Returns the scores of a part, without gradient.

    Raises TrainingError unless they are numbers with the shape and device of the network's own scores, `plain` (B, C).
    """
    scores = expect_shape(part, part(outputs), plain.shape, plain.device).detach()
    if scores.dtype is torch.bool:
        raise TrainingError(f"{type(part).__name__} returns {scores.dtype}, where numbers are needed")
    return scores


def evaluated(network: Network, context: RunContext, split: str, fields: set[str]) -> Iterator[tuple[Outputs, Targets]]:
    """Yields the outputs and targets of a split, batch by batch, on the host."""
    store = context.evaluated[split]
    targets, first = store.targets.to(torch.device("cpu")), 0
    for outputs in SplitEvidence(network, context, store, fields).batches():
        rows = torch.arange(first, first + len(outputs.need("logits")))
        yield outputs, targets.take(rows)
        first += len(rows)


def evaluate(network: Network, context: RunContext) -> dict[str, Metrics]:
    """Returns split -> metrics of the network's own prediction. Keeps the meters alone, and no outputs."""
    found = {}
    for split in context.evaluated:
        meter = context.meter()
        for outputs, targets in evaluated(network, context, split, {"logits"}):
            meter.update(context.task.scores(outputs), targets)
        found[split] = meter.compute()
    return found
