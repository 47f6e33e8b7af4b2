"""Queues of earlier rows: the newest replace the oldest."""

from __future__ import annotations

import torch
from torch import Tensor

from ltrun.errors import ConfigError

EMPTY = -1  # label of an empty slot


@torch.no_grad()
def enqueue(cursor: Tensor, *pairs: tuple[Tensor, Tensor]) -> None:
    """Writes rows (B, ...) to queues (Q, ...) of one length, after the last ones and round their end. pairs: queue, rows.

    cursor: the next slot, moved in place. Of more rows than slots the last are kept.
    """
    size, rows = len(pairs[0][0]), len(pairs[0][1])
    kept = min(size, rows)
    slots = (cursor + torch.arange(kept, device=cursor.device)) % size
    for queue, new in pairs:
        queue[slots] = new[-kept:].to(queue.dtype)
    cursor.copy_((cursor + kept) % size)


def check_length(queue: Tensor, rows: Tensor) -> None:
    """Raises ConfigError unless embeddings (B, P) fit a queue (Q, dim)."""
    if rows.shape[1] != queue.shape[1]:
        raise ConfigError(f"dim must equal the projector's out, {rows.shape[1]}, got {queue.shape[1]}")
