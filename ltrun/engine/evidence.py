"""Outputs of a trained network on one split, for evaluation and for post-hoc parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from ltrun.data.crop import drawn
from ltrun.data.stores import Store
from ltrun.engine.context import RunContext
from ltrun.engine.cuts import cut_while_decoding
from ltrun.engine.turns import wait_for_device, yield_turn
from ltrun.network.fold import folded
from ltrun.parts import Augment, Evidence, Network, PostHoc
from ltrun.results import mapped
from ltrun.types import ROWS, Outputs, seed_of

VIEWS = 250  # inputs augmented at once, on any device: random draws depend on it, and no setting of speed may change results


class SplitEvidence:
    """Outputs of one network on one split, in evaluation mode and without gradients, copied to the host batch by batch.

    fields: the fields of Outputs that are copied. Outputs of a whole split are kept for the next part that asks for them, in a
    temporary file where they are large. augments: applied for `augment=True`. hidden: whether reading the labels raises
    PermissionError, as for test inputs.
    """

    def __init__(
        self,
        network: Network,
        context: RunContext,
        store: Store,
        fields: Collection[str] = ("logits",),
        augments: Sequence[Augment] = (),
        hidden: bool = False,
    ):
        self.network, self.context, self.store = network, context, store
        self.fields, self.augments, self.hidden = fields, augments, hidden
        self.clean = Outputs()
        self.held: set[str] = set()  # fields of `clean`

    @property
    def labels(self) -> Tensor:
        if self.hidden:
            raise PermissionError("a post-hoc part may see test inputs, never test labels")
        return self.store.targets.labels.cpu()

    def outputs(self, augment: bool = False, epoch: int = 0, fields: Collection[str] | None = None) -> Outputs:
        """Returns the whole split in order. fields: those that are needed, null for all."""
        asked = set(self.fields if fields is None else fields)
        if augment:
            return self._whole(self.batches(augment, epoch), asked)[0]
        if not asked <= self.held:
            self.clean, self.held = self._whole(self.batches(), asked | self.held)
        return self.clean

    def _whole(self, batches: Iterator[Outputs], asked: set[str]) -> tuple[Outputs, set[str]]:
        """Joins batches; returns the outputs and their fields: all, or, where these are large, only those that are asked."""
        first = next(batches)
        rows = {name: len(tensor) for name, tensor in first.by_row().items()}
        count = len(self.store)
        size = sum(tensor.nbytes // rows[name] * count for name, tensor in first.by_row().items())
        held = set(self.fields) if size <= mapped.LARGE else asked
        whole: dict[str, Tensor] = {}
        done = 0
        for found in chain([first], batches):
            found = found.only(held)
            for name, dim in ((name, dim) for name, dim in ROWS.items() if getattr(found, name) is not None):
                part = getattr(found, name)
                if name not in whole:
                    shape = [count if d == dim else length for d, length in enumerate(part.shape)]
                    whole[name] = mapped.empty(shape, part.dtype, f"the {name} of {count:,} images")
                whole[name].narrow(dim, done, part.shape[dim]).copy_(part)
            done += len(next(iter(found.by_row().values())))
        return replace(first.only(held), **whole), held  # type: ignore[arg-type]

    @torch.no_grad()
    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        if augment:
            torch.manual_seed(seed_of(self.context.seed, "augmented evaluation", epoch))
        network, precision = folded(self.network), self.context.precision
        plan = torch.arange(len(self.store)).split(VIEWS if augment else self.context.evaluation_batch)
        for inputs, rows in self._augmented(plan, epoch) if augment else self._clean(plan):
            with precision.autocast():
                found = network.predict(self.context.prepare(inputs)).only(self.fields)
            found = self.context.ranks.whole(found, rows)
            yield_turn()
            wait_for_device(precision.device)
            yield found.map(lambda tensor: tensor.cpu())

    def _clean(self, plan: Sequence[Tensor]) -> Iterator[tuple[Tensor, int]]:
        """Yields this rank's share of the inputs of each batch, and the rows of the whole batch."""
        shares = self.store.open([self.context.ranks.mine(rows) for rows in plan])
        for rows, batch in zip(plan, shares, strict=True):
            yield batch.inputs, len(rows)

    def _augmented(self, plan: Sequence[Tensor], epoch: int) -> Iterator[tuple[Tensor, int]]:
        """Yields what `_clean` yields, augmented: as in training, random numbers are drawn for whole batches."""
        crop, augments = cut_while_decoding(self.augments, self.store)
        seed = seed_of(self.context.seed, "augmented evaluation", epoch, "crops")
        cuts = drawn(crop, seed, plan) if crop else None
        for batch in self.context.ranks.open(self.store, plan, cuts=cuts):
            for part in augments:
                batch = part(batch)
            yield self.context.ranks.mine(batch.inputs), len(batch)


class Shown:
    """Evidence restricted to the fields of Outputs that a part declares."""

    def __init__(self, evidence: SplitEvidence, fields: Collection[str]) -> None:
        self.evidence, self.fields = evidence, fields

    @property
    def labels(self) -> Tensor:
        return self.evidence.labels

    def outputs(self, augment: bool = False, epoch: int = 0) -> Outputs:
        return self.evidence.outputs(augment, epoch, self.fields).only(self.fields)

    def batches(self, augment: bool = False, epoch: int = 0) -> Iterator[Outputs]:
        return (outputs.only(self.fields) for outputs in self.evidence.batches(augment, epoch))


def fit(part: PostHoc, evidence: Mapping[str, SplitEvidence]) -> None:
    """Fits a post-hoc part to the splits and fields that it declares, and shows it nothing else."""
    shown: dict[str, Evidence] = {name: Shown(evidence[name], part.reads) for name in part.sees}
    part.fit(shown)
