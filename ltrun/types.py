"""The nouns of ltrun: what the parts of a method receive and return.

Shapes: B rows in a batch, M weighted labels a row, C classes, D features, E experts, P embedding dimensions, N rows in all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.metrics import GROUPS, Shots


@dataclass(frozen=True, eq=False)
class ClassStats:
    """How many training images each class has.

    counts: (C,) int64. names: C class names.
    """

    counts: Tensor
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, targets: Labels, num_classes: int, names: tuple[str, ...] = ()) -> ClassStats:
        """Counts the first label of every row."""
        return cls(torch.bincount(targets.index[:, 0].cpu(), minlength=num_classes), names)

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    @property
    def prior(self) -> Tensor:
        """(C,) float32: the share of each class in the training set."""
        return (self.counts.double() / self.counts.sum()).float()

    def shots(self, many: int = Shots.many, few: int = Shots.few) -> dict[str, Tensor]:
        """(C,) boolean masks: more than `many` training images, `few` to `many`, fewer than `few`."""
        frequent, rare = self.counts > many, self.counts < few
        return dict(zip(GROUPS, (frequent, ~frequent & ~rare, rare), strict=True))

    @property
    def imbalance_factor(self) -> float:
        """Images of the largest class over images of the smallest."""
        return float(self.counts.max() / self.counts.min())

    @property
    def gini(self) -> float:
        """The Gini coefficient of the counts: 0 is balanced, 1 is one class owning everything."""
        ordered, n = self.counts.double().sort().values, self.num_classes
        rank = torch.arange(1, n + 1, dtype=torch.float64)
        return float((2 * rank - n - 1).mul(ordered).sum() / (n * ordered.sum()))


def as_rarest(counts: Tensor) -> Tensor:
    """(C,): counts in which a class without images has as many as the rarest class that has some.

    So no logarithm, power or ratio of a count is infinite, and a class that training never shows is treated as a rare one.
    """
    return torch.where(counts > 0, counts, counts[counts > 0].min())


@dataclass(frozen=True, eq=False)
class Labels:
    """A small bag of weighted hard labels a row. Mixing concatenates columns, so every margin stays exact.

    index: (B, M) int64. weight: (B, M) float32, rows sum to 1.
    """

    index: Tensor
    weight: Tensor

    @classmethod
    def hard(cls, labels: Tensor) -> Labels:
        """One label of weight 1 a row. labels: (B,) integers."""
        return cls(labels.long()[:, None], torch.ones(len(labels), 1, device=labels.device))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def primary(self) -> Tensor:
        """(B,) the first label of each row: the only one, unless the rows were mixed."""
        return self.index[:, 0]

    def take(self, rows: Tensor) -> Labels:
        return Labels(self.index[rows], self.weight[rows])

    def mix(self, other: Labels, keep: Tensor) -> Labels:
        """`keep` (B,) of these labels and 1 - keep of the other's; the columns of both."""
        return Labels(
            torch.cat([self.index, other.index], dim=1),
            torch.cat([self.weight * keep[:, None], other.weight * (1 - keep)[:, None]], dim=1),
        )

    def columns(self, logits: Tensor) -> Iterator[Column]:
        """What a loss sees of these targets: a column for each of the M labels, over the same logits (B, C)."""
        for labels, share in zip(self.index.unbind(1), self.weight.unbind(1), strict=True):
            yield Column(logits, labels, share)

    def to(self, device: torch.device) -> Labels:
        return Labels(self.index.to(device), self.weight.to(device))

    def clone(self) -> Labels:
        return Labels(self.index.clone(), self.weight.clone())

    def tensors(self) -> list[Tensor]:
        return [self.index, self.weight]


@dataclass(frozen=True, eq=False)
class Column:
    """Logits and one hard label each: what margins, logit adjustments, weights and criteria are functions of.

    logits: (B, C). labels: (B,) int64. share: (B,) float32, how much of its row the label stands for.
    """

    logits: Tensor
    labels: Tensor
    share: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """inputs: (B, ...) as stored, such as uint8 images (B, channels, H, W), or float32 once prepared for the network.

    rows: (B,) row numbers in the store.
    """

    inputs: Tensor
    targets: Labels
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def replace(self, **changes: object) -> Batch:
        return replace(self, **changes)  # type: ignore[arg-type]

    def clone(self) -> Batch:
        return Batch(self.inputs.clone(), self.targets.clone(), self.rows.clone())

    def tensors(self) -> list[Tensor]:
        """All that a batch holds, in a fixed order."""
        return [self.inputs, *self.targets.tensors(), self.rows]


Streams = Mapping[str, Batch]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network says of a batch.

    features: (B, D) input of the classifier. logits: (B, C). scale: what the head multiplied cosines by (1 for linear
    heads). head: (C, D) class weights. experts: (E, B, C) logits of each expert. embedding: (B, P) unit vectors of a
    projector. A field that the network does not provide is None.
    """

    features: Tensor | None = None
    logits: Tensor | None = None
    scale: float = 1.0
    head: Tensor | None = None
    experts: Tensor | None = None
    embedding: Tensor | None = None

    def need(self, name: str) -> Tensor:
        """A field that is a tensor. Raises TrainingError where the network does not provide it."""
        value = getattr(self, name)
        if not isinstance(value, Tensor):
            raise TrainingError(
                f"the network gives no {name}, or a post-hoc part does not name '{name}' in its `reads`; mend the part, or "
                "choose another network"
            )
        return value

    def only(self, names: Collection[str]) -> Outputs:
        """These outputs without the tensors that are not named."""
        hidden: dict[str, Any] = {field.name: None for field in fields(self) if field.name not in (*names, "scale")}
        return replace(self, **hidden)

    def detach(self) -> Outputs:
        return self.map(lambda tensor: tensor.detach())

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **changed)

    @staticmethod
    def concatenate(parts: list[Outputs]) -> Outputs:
        """Joins batches along B; `head` and `scale` are those of the first."""

        def join(name: str, dim: int) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            return None if tensors[0] is None else torch.cat(tensors, dim=dim)

        return replace(
            parts[0],
            features=join("features", 0),
            logits=join("logits", 0),
            experts=join("experts", 1),
            embedding=join("embedding", 0),
        )


@dataclass(frozen=True)
class Clock:
    """Where a stage stands. epoch counts from 0; epochs is the length of the stage."""

    stage: str
    epoch: int
    epochs: int

    @property
    def progress(self) -> float:
        """Epochs begun over epochs in all: 0 in the first epoch, below 1 in the last."""
        return self.epoch / self.epochs

    def passed(self, fraction: float) -> bool:
        """True from epoch floor(fraction * epochs) on: 0.8 of 200 is epoch index 160, as in LDAM-DRW.

        What is deferred at all is not on in the first epoch, however short the stage, as in a schedule's milestones.
        """
        return self.epoch >= (max(1, fraction_of(self.epochs, fraction)) if fraction > 0 else 0)


def fraction_of(epochs: int, fraction: float) -> int:
    """floor(fraction * epochs), safe against 0.29 * 100 = 28.999..."""
    return int(fraction * epochs + 1e-9)


@dataclass(frozen=True, eq=False)
class View:
    """What a part may look at between epochs, read-only.

    open: row numbers (N,) of the training set -> Batch, inputs as stored. predict: inputs as stored -> Outputs, without
    gradient, in evaluation mode.
    """

    clock: Clock
    stats: ClassStats
    open: Callable[[Tensor], Batch]
    predict: Callable[[Tensor], Outputs]
    generator: torch.Generator


def seed_of(*keys: object) -> int:
    """A 63-bit seed that is a function of its keys alone.

    | keys | draws |
    | seed, "network" | the weights of a new network |
    | seed, stage, "enter" | heads that a stage resets or wraps |
    | seed, stage, "parts" | the parts of a stage |
    | seed, stage, epoch | augmentation, mixing and noise of an epoch; with "samplers", the rows |
    | seed, "posthoc", name | what a post-hoc part draws |
    | seed, "augmented evaluation", epoch | the views that a post-hoc part asks for |
    """
    digest = hashlib.sha256(repr(keys).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
