"""KCL: supervised contrastive learning with the same number of positives for each image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Part, Term
from ltrun.representation.queue import check_length, enqueue
from ltrun.representation.supcon import check_temperatures, contrast, itself, other_view, same, supcon, two_views
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


class KCL(Term):
    """k-positive contrastive learning: the positives of a view are the other view of its image and k others of its class.

    SupCon pulls an image of a head class towards many others, an image of a tail class towards few; k of each is balanced. The
    positives are drawn anew in every batch; the others of the class stay in the denominator. It is the form in which Li et al.,
    2022 (arXiv 2111.13998) ran it on CIFAR; `KCLQueue` is the authors'. base: as in SupCon.

    Kang et al., 2021, ICLR.
    """

    streams = ("main", "view")
    reads = frozenset({"embedding"})
    mixed = False

    def __init__(self, k: int = 6, temperature: float = 0.1, base: float = 0.07):
        super().__init__()
        check_temperatures(temperature, base)
        check_k(k)
        self.k, self.temperature, self.base = k, temperature, base

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        embedding, labels = two_views(outputs, streams)
        with torch.autocast(embedding.device.type, enabled=False):
            return supcon(embedding, labels, self.temperature, self.base, positives(labels, self.k))


class _Queue(Part):
    """Earlier keys and their labels, from stream `key`. slots: new keys replace the oldest. dim: length of the embedding."""

    keys: Tensor
    labels: Tensor
    cursor: Tensor

    def __init__(self, slots: int, dim: int):
        super().__init__()
        if slots < 1 or dim < 1:
            raise ConfigError(f"queue and dim must be above 0, got {slots} and {dim}")
        self.register_buffer("keys", torch.zeros(slots, dim))
        self.register_buffer("labels", torch.full((slots,), EMPTY))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def columns(self, query: Tensor, key: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1 + Q) each: similarities of queries (B, P) with their own keys (B, P) and the queue; which of them are
        positives, the own key and k keys of the class; which of them are present, all but empty slots."""
        check_length(self.keys, key)
        own, others = (query * key).sum(dim=1, keepdim=True), query @ self.keys.T
        chosen = drawn(labels[:, None] == self.labels, k)
        present = (self.labels != EMPTY).expand_as(chosen)
        positives, there = (F.pad(mask, (1, 0), value=True) for mask in (chosen, present))
        return torch.cat([own, others], dim=1), positives, there

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        key, labels = outputs["key"].need("embedding"), streams["key"].targets.labels
        enqueue(self.cursor, (self.keys, key), (self.labels, labels))


class KCLQueue(Term):
    """k-positive contrastive learning with a queue: the positives are an image's own key and k keys of its class.

    The query is the embedding of `main`, the key the embedding of `key`, another view through the slow network. queue: number
    of slots; empty ones take no part. The authors' form, for ImageNet-LT and iNaturalist 2018. Which k keys count is drawn at
    random, where their code takes what a selection among equal values returns.

    Kang et al., 2021, ICLR.
    """

    streams = ("main", "key")
    reads = frozenset({"embedding"})
    mixed = False

    def __init__(self, k: int = 6, temperature: float = 0.07, queue: int = 65536, dim: int = 128):
        super().__init__()
        check_k(k)
        check_temperature(temperature)
        self.k, self.temperature = k, temperature
        self.queue = _Queue(queue, dim)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        query, key = (widened(outputs[name].need("embedding")) for name in self.streams)
        with torch.autocast(query.device.type, enabled=False):
            similarity, positive, present = self.queue.columns(query, key, streams["main"].targets.labels, self.k)
            return contrast(similarity / self.temperature, positive, present).mean()
