"""KCL: supervised contrastive learning with the same number of positives for each image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.representation.queue import check_length, enqueue
from ltrun.representation.supcon import TwoViews, contrast, itself, other_view, same, supcon
from ltrun.transfer.divergence import check_temperature
from ltrun.types import Outputs, Streams

EMPTY = -1  # label of an empty slot of the queue


def drawn(candidates: Tensor, k: int) -> Tensor:
    """(N, R) bool: at most k of each row's candidates (N, R), drawn at random; all of a row that has no more than k."""
    chance = torch.rand(candidates.shape, device=candidates.device).masked_fill(~candidates, -1)
    places = chance.topk(min(k, candidates.shape[1]), dim=1).indices
    return torch.zeros_like(candidates).scatter(1, places, True) & candidates


def positives(labels: Tensor, k: int) -> Tensor:
    """(2 B, 2 B) bool: the other view of each row's image and k other rows of its class."""
    view = other_view(labels)
    return view | drawn(same(labels) & ~itself(labels) & ~view, k)


def check_k(k: int) -> None:
    """Raises ConfigError unless at least one positive is drawn."""
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")


class KCL(TwoViews):
    """k-positive contrastive learning: the positives of a view are the other view of its image and k others of its class.

    SupCon pulls an image of a head class towards many others, an image of a tail class towards few; k of each is balanced. The
    positives are drawn anew in every batch; the others of the class stay in the denominator. It is the form in which Li et al.,
    2022 (arXiv 2111.13998) ran it on CIFAR; `KCLQueue` is the authors'.

    Kang et al., 2021, ICLR.
    """

    def __init__(self, k: int = 6, temperature: float = 0.1, base: float = 0.07):
        super().__init__(temperature, base)
        check_k(k)
        self.k = k

    def loss(self, embedding: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        return supcon(embedding, labels, self.temperature, self.base, positives(labels, self.k))


class Queued(Term):
    """A contrast of embeddings of `main` with their keys, in `key` through the slow network, and a queue of earlier keys.

    queue: number of slots; new keys replace the oldest. dim: length of the embedding. Empty slots take no part.
    """

    streams = ("main", "key")
    reads = frozenset({"embedding"})
    mixed = False
    keys: Tensor
    key_labels: Tensor
    cursor: Tensor

    def __init__(self, k: int, temperature: float, queue: int, dim: int):
        super().__init__()
        check_k(k)
        check_temperature(temperature)
        if queue < 1 or dim < 1:
            raise ConfigError(f"queue and dim must be above 0, got {queue} and {dim}")
        self.k, self.temperature = k, temperature
        self.register_buffer("keys", torch.zeros(queue, dim))
        self.register_buffer("key_labels", torch.full((queue,), EMPTY))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        query, key = (widened(outputs[name].need("embedding")) for name in ("main", "key"))
        check_length(self.keys, key)
        labels = streams["main"].targets.primary
        with torch.autocast(query.device.type, enabled=False):
            own, others = (query * key).sum(dim=1, keepdim=True), query @ self.keys.T
            chosen = drawn(labels[:, None] == self.key_labels, self.k)
            present = (self.key_labels != EMPTY).expand_as(others)
            first = torch.ones_like(own, dtype=torch.bool)
            logits, positive = torch.cat([own, others], dim=1), torch.cat([first, chosen], dim=1)
            return self.loss(logits, positive, torch.cat([first, present], dim=1), query, labels)

    def loss(self, similarity: Tensor, positive: Tensor, present: Tensor, query: Tensor, labels: Tensor) -> Tensor:
        """Returns a scalar. similarity, positive, present: (B, 1 + Q), the own key first. query: (B, P)."""
        raise NotImplementedError

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        key, labels = outputs["key"].need("embedding"), streams["key"].targets.primary
        enqueue(self.cursor, (self.keys, key), (self.key_labels, labels))


class KCLQueue(Queued):
    """k-positive contrastive learning with a queue: the positives are an image's own key and k keys of its class.

    The authors' form, for ImageNet-LT and iNaturalist 2018. Which k keys count is drawn at random, where their code takes what
    a selection among equal values returns.

    Kang et al., 2021, ICLR.
    """

    def __init__(self, k: int = 6, temperature: float = 0.07, queue: int = 65536, dim: int = 128):
        super().__init__(k, temperature, queue, dim)

    def loss(self, similarity: Tensor, positive: Tensor, present: Tensor, query: Tensor, labels: Tensor) -> Tensor:
        return contrast(similarity / self.temperature, positive, present).mean()
