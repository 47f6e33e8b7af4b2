"""MoCo: contrast of two views of an image by a momentum network and its queue, without labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.representation.queue import check_length, enqueue
from ltrun.transfer.divergence import check_temperature
from ltrun.types import Outputs, Streams


def info_nce(query: Tensor, key: Tensor, queue: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """A scalar: the mean of -log(p), the share of a row's own key among it and its negatives in the queue.

    query, key: (B, P), queue: (Q, P), all unit vectors. negative: (Q,) or (B, Q) bool, the slots that count.
    """
    own = (query * key).sum(dim=1, keepdim=True)
    others = (query @ queue.T).masked_fill(~negative, -torch.inf)
    return -(torch.cat([own, others], dim=1) / temperature).log_softmax(dim=1)[:, 0].mean()


class MoCo(Term):
    """Momentum contrast: the embedding of an image is near that of another view of it, and far from earlier images'.

    The query is the embedding of `main`, the key the embedding of `key`, another view through the slow network. queue: number
    of slots, new keys replace the oldest; empty slots are ignored, where the authors' queue starts with random vectors. dim:
    length of the embedding. As on several devices, the twin's batch norms see the rows of one device; the keys are not
    shuffled over devices. The loss reads no label, so it may come before any training with labels.

    He et al., 2020, arXiv 1911.05722.
    """

    accepts = BOTH
    streams = ("main", "key")
    reads = frozenset({"embedding"})
    keys: Tensor
    filled: Tensor
    cursor: Tensor

    def __init__(self, temperature: float = 0.1, queue: int = 4096, dim: int = 128):
        super().__init__()
        check_temperature(temperature)
        if queue < 1 or dim < 1:
            raise ConfigError(f"queue and dim must be above 0, got {queue} and {dim}")
        self.temperature = temperature
        self.register_buffer("keys", torch.zeros(queue, dim))
        self.register_buffer("filled", torch.zeros(queue, dtype=torch.bool))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        query, key = widened(outputs["main"].need("embedding")), widened(outputs["key"].need("embedding"))
        check_length(self.keys, key)
        with torch.autocast(key.device.type, enabled=False):
            return info_nce(query, key, self.keys, self.filled, self.temperature)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        key = outputs["key"].need("embedding")
        enqueue(self.cursor, (self.keys, key), (self.filled, torch.ones_like(key[:, 0], dtype=torch.bool)))
