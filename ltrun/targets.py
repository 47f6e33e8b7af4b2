"""Targets: the labels of a batch or a data set, one label per row or any number of labels per row.

Shapes: B rows, M weighted labels per row, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Column:
    """Logits and the labels that a loss compares them with: the arguments of margins, adjustments, weights and criteria.

    logits: (B, C). labels: (B,) int64, a hard label per row; or (B, C) float32, 1 for each label of a row. share: the factor of
    the losses: (B,) float32, the weight of the label in its row; or, for several labels, (B, C) or (1, 1).
    """

    logits: Tensor
    labels: Tensor
    share: Tensor


@dataclass(frozen=True, eq=False)
class Labels:
    """A few weighted hard labels per row. Mixing concatenates columns, so every margin stays exact.

    index: (B, M) int64. weight: (B, M) float32, rows sum to 1.
    """

    index: Tensor
    weight: Tensor

    @classmethod
    def hard(cls, labels: Tensor) -> Labels:
        """Makes one label of weight 1 per row. labels: (B,) integers."""
        return cls(labels.long()[:, None], torch.ones(len(labels), 1, device=labels.device))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Tensor:
        """(B,) the first label of each row: the only one, unless the rows were mixed."""
        return self.index[:, 0]

    @property
    def device(self) -> torch.device:
        return self.index.device

    def count(self, num_classes: int) -> Tensor:
        """Returns (C,) int64 on the host: the rows whose first label is each class."""
        return torch.bincount(self.labels.cpu(), minlength=num_classes)

    def take(self, rows: Tensor | slice) -> Labels:
        return Labels(self.index[rows], self.weight[rows])

    def mix(self, other: Targets, keep: Tensor) -> Labels:
        """Joins the columns of both, weighted by `keep` (B,) here and by 1 - keep in the other."""
        other = one_label(other)
        return Labels(
            torch.cat([self.index, other.index], dim=1),
            torch.cat([self.weight * keep[:, None], other.weight * (1 - keep)[:, None]], dim=1),
        )

    def columns(self, logits: Tensor) -> Iterator[Column]:
        """Yields a column for each of the M labels, over the same logits (B, C)."""
        for labels, share in zip(self.index.unbind(1), self.weight.unbind(1), strict=True):
            yield Column(logits, labels, share)

    def to(self, device: torch.device) -> Labels:
        return Labels(self.index.to(device), self.weight.to(device))

    def clone(self) -> Labels:
        return Labels(self.index.clone(), self.weight.clone())

    def tensors(self) -> list[Tensor]:
        return [self.index, self.weight]


@dataclass(frozen=True, eq=False)
class MultiHot:
    """Any number of labels per row, also none.

    hot: (B, C), 1 for a label of the row and 0 elsewhere: bool in a data set; float32 in a batch, between 0 and 1 once rows are
    mixed. counted: (B, C) float32, the share of each entry's loss that counts, 0 to leave it out; None: all count.
    """

    hot: Tensor
    counted: Tensor | None = None

    def __len__(self) -> int:
        return len(self.hot)

    @property
    def labels(self) -> Tensor:
        """(B, C) bool: whether a class is a label of the row, of mixed rows with any weight."""
        return self.hot > 0

    @property
    def device(self) -> torch.device:
        return self.hot.device

    def count(self, num_classes: int) -> Tensor:
        """Returns (C,) int64 on the host: the rows that have each class as a label."""
        assert self.hot.shape[1] == num_classes
        return self.labels.sum(0).cpu()

    def take(self, rows: Tensor | slice) -> MultiHot:
        """Returns some rows, as a batch has them: float32."""
        return MultiHot(self.hot[rows].float(), None if self.counted is None else self.counted[rows])

    def only(self, classes: Tensor) -> MultiHot:
        """Leaves the losses of each row's labels out, except at the class for which the row was drawn. classes: (B,) int64.

        The classes that a row does not have count as before (Zhang et al., 2021, arXiv 2105.02668).
        """
        drawn = classes[:, None] == torch.arange(self.hot.shape[1], device=classes.device)
        return MultiHot(self.hot, ((self.hot == 0) | drawn).float())

    def mix(self, other: Targets, keep: Tensor) -> MultiHot:
        """Returns the mean of both, weighted by `keep` (B,) here and by 1 - keep in the other."""
        assert isinstance(other, MultiHot)
        share = keep[:, None]
        counted = None
        if self.counted is not None and other.counted is not None:
            counted = share * self.counted + (1 - share) * other.counted
        return MultiHot(share * self.hot + (1 - share) * other.hot, counted)

    def columns(self, logits: Tensor) -> Iterator[Column]:
        """Yields one column over the logits (B, C)."""
        yield Column(logits, self.hot, self.hot.new_ones(1, 1) if self.counted is None else self.counted)

    def to(self, device: torch.device) -> MultiHot:
        return MultiHot(self.hot.to(device), None if self.counted is None else self.counted.to(device))

    def clone(self) -> MultiHot:
        return MultiHot(self.hot.clone(), None if self.counted is None else self.counted.clone())

    def tensors(self) -> list[Tensor]:
        return [self.hot] if self.counted is None else [self.hot, self.counted]


Targets = Labels | MultiHot


def targets_of(labels: Tensor) -> Targets:
    """Returns targets of a data set. labels: (N,) integers, a class per row; or (N, C) bool, whether a row has each class."""
    return Labels.hard(labels) if labels.ndim == 1 else MultiHot(labels)


def one_label(targets: Targets) -> Labels:
    """Returns the targets of a part that needs one label per row; its `accepts` keeps other tasks away."""
    assert isinstance(targets, Labels)
    return targets
