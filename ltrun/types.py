"""Class statistics, batches, outputs, clock and view, with the targets: the arguments and results of the parts of a method.

Shapes: B rows in a batch, C classes, D features, E experts, P embedding dimensions, N rows in all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ltrun.errors import TrainingError
from ltrun.metrics import GROUPS, Shots
from ltrun.targets import Column, Labels, MultiHot, Targets, targets_of

__all__ = [
    "ROWS", "Batch", "ClassStats", "Clock", "Column", "Labels", "MultiHot", "Outputs", "Streams", "Targets", "View",
    "as_rarest", "fraction_of", "seed_of", "targets_of",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class ClassStats:
    """Training images per class.

    counts: (C,) int64, the images with each class. names: C class names. rows: N, the images in all; None for their sum, where
    each image has one class.
    """

    counts: Tensor
    names: tuple[str, ...] = ()
    rows: int | None = None

    @classmethod
    def of(cls, targets: Targets, num_classes: int, names: tuple[str, ...] = ()) -> ClassStats:
        """Counts the first label of every row, or each of its labels."""
        return cls(targets.count(num_classes), names, len(targets))

    @property
    def images(self) -> int:
        """N: the training images, also those without any label."""
        return int(self.counts.sum()) if self.rows is None else self.rows

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    @property
    def prior(self) -> Tensor:
        """(C,) float32: the share of the training images that have each class."""
        return (self.counts.double() / self.images).float()

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
        """The Gini coefficient of the counts: 0 if they are balanced, close to 1 if one class has nearly all images."""
        ordered, n = self.counts.double().sort().values, self.num_classes
        rank = torch.arange(1, n + 1, dtype=torch.float64)
        return float((2 * rank - n - 1).mul(ordered).sum() / (n * ordered.sum()))


def as_rarest(counts: Tensor) -> Tensor:
    """Returns (C,) counts in which each class without images has the count of the rarest class with images.

    So logarithms, powers and ratios of the counts are finite, and a class without training images is treated as a rare one.
    """
    return torch.where(counts > 0, counts, counts[counts > 0].min())


@dataclass(frozen=True, eq=False)
class Batch:
    """inputs: (B, ...) as stored, such as uint8 images (B, channels, H, W), or float32 once prepared for the network.

    rows: (B,) row numbers in the store. generated: (B,) bool, whether a row's image is generated, for networks that treat such
    rows apart; None if no row's is.
    """

    inputs: Tensor
    targets: Targets
    rows: Tensor
    generated: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def source(self) -> tuple[Tensor, Tensor | None]:
        """A tensor of inputs as stored, and the (B,) places of this batch's inputs in it; None if these are all its inputs."""
        return self.inputs, None

    def replace(self, **changes: object) -> Batch:
        return replace(self, **changes)  # type: ignore[arg-type]

    def take(self, rows: slice) -> Batch:
        generated = None if self.generated is None else self.generated[rows]
        return Batch(self.inputs[rows], self.targets.take(rows), self.rows[rows], generated)

    def clone(self) -> Batch:
        generated = None if self.generated is None else self.generated.clone()
        return Batch(self.inputs.clone(), self.targets.clone(), self.rows.clone(), generated)

    def tensors(self) -> list[Tensor]:
        """Returns the tensors that determine the batch, in a fixed order."""
        return [self.inputs, *self.targets.tensors(), self.rows, *([] if self.generated is None else [self.generated])]


Streams = Mapping[str, Batch]
ROWS = {"features": 0, "logits": 0, "experts": 1, "embedding": 0}  # fields of Outputs -> their dimension of rows


@dataclass(frozen=True, eq=False)
class Outputs:
    """A network's outputs for a batch.

    features: (B, D) input of the classifier. logits: (B, C). scale: the head's factor of the cosines (1 for linear
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
        """Returns a field that is a tensor. Raises TrainingError if the network does not provide it."""
        value = getattr(self, name)
        if not isinstance(value, Tensor):
            raise TrainingError(
                f"the network provides no {name}, or a post-hoc part does not name '{name}' in its `reads`; fix the part, or "
                "choose another network"
            )
        return value

    def only(self, names: Collection[str]) -> Outputs:
        """Returns the outputs with the named tensors alone."""
        hidden: dict[str, Any] = {field.name: None for field in fields(self) if field.name not in (*names, "scale")}
        return replace(self, **hidden)

    def by_row(self) -> dict[str, Tensor]:
        """Returns the fields that have a row for each input, as tensors (B, ...)."""
        found = {name: getattr(self, name) for name in ROWS}
        return {name: tensor.movedim(ROWS[name], 0) for name, tensor in found.items() if tensor is not None}

    def of_rows(self, by_row: Mapping[str, Tensor]) -> Outputs:
        """Returns the outputs with other rows. by_row: fields as `by_row` returns them."""
        changed: dict[str, Any] = {name: tensor.movedim(0, ROWS[name]) for name, tensor in by_row.items()}
        return replace(self, **changed)

    def detach(self) -> Outputs:
        return self.map(lambda tensor: tensor.detach())

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **changed)

    @staticmethod
    def concatenate(parts: list[Outputs]) -> Outputs:
        """Joins batches along B; takes `head` and `scale` from the first."""

        joined: dict[str, Any] = {}
        for name, dim in ROWS.items():
            if getattr(parts[0], name) is not None:
                joined[name] = torch.cat([getattr(part, name) for part in parts], dim=dim)
        return replace(parts[0], **joined)


@dataclass(frozen=True)
class Clock:
    """The epoch that a stage has reached. epoch: counts from 0. epochs: length of the stage. within: share of the epoch's steps
    that are done, for a schedule; parts see 0."""

    stage: str
    epoch: int
    epochs: int
    within: float = 0.0

    @property
    def progress(self) -> float:
        """Finished epochs over all epochs: 0 in the first epoch, below 1 in the last."""
        return self.epoch / self.epochs

    def passed(self, fraction: float) -> bool:
        """Returns True from epoch floor(fraction * epochs) on: 0.8 of 200 is epoch index 160, as in LDAM-DRW.

        A fraction above 0 never includes the first epoch, however short the stage, as in a schedule's milestones.
        """
        return self.epoch >= (max(1, fraction_of(self.epochs, fraction)) if fraction > 0 else 0)


def fraction_of(epochs: int, fraction: float) -> int:
    """floor(fraction * epochs), safe against 0.29 * 100 = 28.999..."""
    return int(fraction * epochs + 1e-9)


def unseen(inputs: Tensor) -> Tensor:
    raise TrainingError("this view shows no maps; give it `maps`")


@dataclass(frozen=True, eq=False)
class View:
    """Read-only access of a part to the training set and the network, for its `adapt`.

    open: row numbers (N,) of the training set -> Batch, inputs as stored; split="unlabelled": of the unlabelled images.
    predict: inputs as stored -> Outputs, without gradient, in evaluation mode; predict(inputs, "teacher"): of that teacher.
    labels: of the training set, (N,) or (N, C). augment: stored batch -> the batch as the part's stream augments it, else main.
    maps: inputs as stored -> (B, D, h, w), the network's last maps before its features, as `predict` computes them.
    """

    clock: Clock
    stats: ClassStats
    open: Callable[..., Batch]
    predict: Callable[..., Outputs]
    generator: torch.Generator
    labels: Tensor
    augment: Callable[[Batch], Batch]
    maps: Callable[[Tensor], Tensor] = unseen


def seed_of(*keys: object) -> int:
    """Returns a 63-bit seed, a function of its keys alone.

    | keys | draws |
    | seed, "network" | the weights of a new network; with a stage, of the network that it resets |
    | seed, stage, "enter" | heads that a stage resets or wraps |
    | seed, stage, "parts" | the parts of a stage |
    | seed, stage, epoch | augmentation, mixing and noise of an epoch; with "samplers", the rows |
    | seed, "posthoc", name | random numbers of a post-hoc part |
    | seed, "augmented evaluation", epoch | augmented views for a post-hoc part; with "crops", crops of photographs |
    | seed, stage, epoch, "statistics" | rows and augmentation for statistics of averaged weights; with "samplers", the rows |
    | seed, stage, epoch, "crops", stream | crops of photographs in an epoch |
    """
    digest = hashlib.sha256(repr(keys).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
