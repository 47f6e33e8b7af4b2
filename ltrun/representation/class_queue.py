"""Queue of earlier rows with slots for each class, so that every class keeps its own newest rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.representation.queue import EMPTY
from ltrun.types import as_rarest


def slots_of(counts: Tensor, slots: int, base: int) -> Tensor:
    """(C,) int64: the slots of each class: `base` for each, and of the rest a share that follows its images, rounded up.

    There are `slots` in all, or as many as `base` needs.
    """
    prior = as_rarest(counts).double() / as_rarest(counts).sum()
    rest = max(0, slots - base * len(counts))
    ends = base * torch.arange(1, len(counts) + 1) + (rest * prior.cumsum(0) - 1e-9).ceil().long()
    return ends.diff(prepend=ends.new_zeros(1))


class ClassQueue(nn.Module):
    """features: (K, D), labels: (K,), EMPTY where no row has come yet, rows: (K,), the row numbers of their images."""

    features: Tensor
    labels: Tensor
    rows: Tensor
    cursors: Tensor
    sizes: Tensor
    starts: Tensor

    def __init__(self, counts: Tensor, slots: int, base: int, length: int):
        super().__init__()
        if slots < 1 or base < 1:
            raise ConfigError(f"queue and base must be at least 1, got {slots} and {base}")
        sizes = slots_of(counts, slots, base)
        total = int(sizes.sum())
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("starts", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("features", torch.zeros(total, length))
        self.register_buffer("labels", torch.full((total,), EMPTY))
        self.register_buffer("rows", torch.full((total,), EMPTY))
        self.register_buffer("cursors", torch.zeros(len(sizes), dtype=torch.int64))

    @torch.no_grad()
    def store(self, features: Tensor, labels: Tensor, rows: Tensor) -> None:
        """Writes rows (B, ...) after the last of their classes and round the ends; of more rows than slots the last stay."""
        order = torch.arange(len(labels), device=labels.device)
        same = labels[:, None] == labels
        place = (same & (order < order[:, None])).sum(dim=1)  # rows of the class before this one
        slot = self.starts[labels] + (self.cursors[labels] + place) % self.sizes[labels]
        last = ((slot[:, None] == slot) * order).amax(dim=1)  # rows of one slot write the same values, in whatever order
        for queue, new in ((self.features, features), (self.labels, labels), (self.rows, rows)):
            queue[slot] = new[last].to(queue.dtype)
        arrived = (labels == torch.arange(len(self.sizes), device=labels.device)[:, None]).sum(dim=1)
        self.cursors.copy_((self.cursors + arrived) % self.sizes)
