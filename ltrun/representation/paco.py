"""PaCo: supervised contrastive learning with parametric class centres."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.representation.queue import EMPTY, check_length, enqueue
from ltrun.types import ClassStats, Outputs, Streams, as_rarest


def paco(
    logits: Tensor,
    query: Tensor,
    others: Tensor,
    labels: Tensor,
    other_labels: Tensor,
    alpha: float = 0.01,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 0.05,
    smooth: float = 0.0,
) -> Tensor:
    """A scalar: the mean over N anchors of -sum(w * log p) / sum(w), p over the classes and all rows but the anchor itself.

    logits: (N, C), log prior added. query: (N, P) anchors, others: (R, P) keys and queue, all unit vectors. labels: (N,),
    other_labels: (R,), EMPTY for a row to ignore. The logit of the anchor's class is a positive of weight beta, each row of
    its class is a positive of weight alpha; gamma multiplies the rows in the denominator. smooth: share of beta that the other
    classes get, each an equal part.
    """
    anchors, classes = logits.shape
    row_labels = torch.cat([labels, other_labels])
    similarity = query @ torch.cat([query, others]).T / temperature
    itself = torch.eye(anchors, len(row_labels), dtype=torch.bool, device=logits.device)
    absent = itself | (row_labels == EMPTY)
    rows = (similarity + (math.log(gamma) if gamma else -math.inf)).masked_fill(absent, -math.inf)
    log_sum = torch.cat([logits, rows], dim=1).logsumexp(dim=1, keepdim=True)
    log_p = torch.cat([logits, similarity], dim=1) - log_sum
    same = (labels[:, None] == row_labels) & ~absent
    own = labels[:, None] == torch.arange(classes, device=logits.device)  # on a CPU, one_hot reads the labels' values
    target = own.to(logits.dtype)
    if smooth:
        target = (1 - smooth) * target + smooth / (classes - 1) * (1 - target)
    weight = torch.cat([beta * target, alpha * same.to(logits.dtype)], dim=1)
    return -((weight * log_p).sum(dim=1) / weight.sum(dim=1)).mean()


def log_prior(stats: ClassStats) -> Tensor:
    """(C,): log(prior + 1e-9). A class without images counts as the rarest class with images."""
    return ((as_rarest(stats.counts).double() / stats.counts.sum()).float() + 1e-9).log()


def check_arguments(alpha: float, beta: float, gamma: float, temperature: float, queue: int, dim: int) -> None:
    """Raises ConfigError for weights, a temperature or sizes of the queue that make no sense."""
    if alpha < 0 or beta < 0 or alpha + beta == 0 or gamma < 0:
        raise ConfigError(f"alpha, beta, gamma must be at least 0 and alpha + beta above 0, got {alpha}, {beta}, {gamma}")
    if temperature <= 0 or queue < 1 or dim < 1:
        raise ConfigError(f"temperature, queue and dim must be above 0, got {temperature}, {queue}, {dim}")


class PaCo(Term):
    """Parametric contrastive learning: classes and samples compete in one softmax, the run's whole classification loss.

    The softmax is over the logits of `main` plus log(prior + 1e-9) and over the similarities of `main`'s embeddings to
    themselves, to the embeddings of `key` (another view of the same images, through the slow network) and to a queue of
    earlier keys. The run's margin, class weights and logit adjustment do not enter it.

    queue: number of slots; new keys replace the oldest, also if the batch size does not divide the queue. dim: length of the
    embedding. Empty slots are ignored; the authors' queue starts with random vectors of random classes. A data set with fewer
    images than slots fills the queue with keys of the same images from several epochs. alpha = 0.05 and temperature = 0.2 are
    the values for ImageNet-LT. The authors train CIFAR for 400 epochs with AutoAugment and Cutout on `main`.

    Cui et al., 2021, arXiv 2107.12028.
    """

    streams = ("main", "key")
    reads = frozenset({"logits", "embedding"})
    mixed = False
    balances = True
    log_prior: Tensor
    keys: Tensor
    key_labels: Tensor
    cursor: Tensor

    def __init__(
        self,
        alpha: float = 0.01,
        beta: float = 1.0,
        gamma: float = 1.0,
        temperature: float = 0.05,
        queue: int = 1024,
        dim: int = 32,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        check_arguments(alpha, beta, gamma, temperature, queue, dim)
        self.alpha, self.beta, self.gamma, self.temperature = alpha, beta, gamma, temperature
        self.register_buffer("log_prior", log_prior(stats), persistent=False)
        self.register_buffer("keys", torch.zeros(queue, dim))
        self.register_buffer("key_labels", torch.full((queue,), EMPTY))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        main, key = outputs["main"], outputs["key"].need("embedding")
        check_length(self.keys, key)
        with torch.autocast(key.device.type, enabled=False):  # bf16 would lose the third digit of similarity / 0.05
            return paco(
                widened(main.need("logits")) + self.log_prior,
                widened(main.need("embedding")),
                torch.cat([widened(key), self.keys]),
                streams["main"].targets.labels,
                torch.cat([streams["key"].targets.labels, self.key_labels]),
                self.alpha,
                self.beta,
                self.gamma,
                self.temperature,
            )

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        key, labels = outputs["key"].need("embedding"), streams["key"].targets.labels
        enqueue(self.cursor, (self.keys, key), (self.key_labels, labels))
