"""TSC: contrastive learning towards class targets that are spread evenly, each matched to the nearest class centre."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.kernels.assignment import assignment
from ltrun.numerics import widened
from ltrun.parts import Part, Term
from ltrun.representation.kcl import _Queue, check_k, positives
from ltrun.representation.queue import check_length
from ltrun.representation.supcon import check_temperatures, contrast, itself, two_views
from ltrun.transfer.divergence import check_temperature
from ltrun.types import Outputs, Streams, View

SHARPNESS = 0.07  # temperature of the uniformity of targets
STEPS, RATE = 10_000, 1e-3


def uniformity(targets: Tensor) -> Tensor:
    """A scalar: the mean over i of log sum_j exp(t_i t_j / 0.07), j over all C unit vectors (C, P), i included."""
    return (targets @ targets.T / SHARPNESS).logsumexp(dim=1).mean()


def simplex(classes: int, dim: int) -> Tensor:
    """(C, dim): the unit vectors whose uniformity is least, all pairs at one angle. dim must be at least C - 1."""
    start = torch.cat([torch.ones(classes, 1), torch.randn(classes, classes - 1)], dim=1)
    return F.pad(F.normalize(torch.linalg.qr(start).Q[:, 1:], dim=1), (0, dim - classes + 1))


@torch.enable_grad()
def spread(start: Tensor, steps: int = STEPS) -> Tensor:
    """(C, P): the unit vectors of least uniformity in `steps` of Adam from (C, P), which normalises them at every step."""
    targets = start.detach().clone().requires_grad_()
    descent = torch.optim.Adam([targets], lr=RATE)
    best, least = start, torch.full((), torch.inf, device=start.device)
    for _ in range(steps):
        unit = F.normalize(targets, dim=1)
        value = uniformity(unit)
        descent.zero_grad()
        value.backward()
        descent.step()
        better = value.detach() < least
        best, least = torch.where(better, unit.detach(), best), torch.where(better, value.detach(), least)
    return best


def moved(centroids: Tensor, embedding: Tensor, labels: Tensor, momentum: float = 0.9) -> Tensor:
    """(C, P): the unit centroid of each class of the batch, moved towards the direction of its mean embedding (B, P)."""
    member = (labels[:, None] == torch.arange(len(centroids), device=labels.device)).to(embedding.dtype)
    means = F.normalize(member.T @ embedding, dim=1)
    new = F.normalize(momentum * centroids + (1 - momentum) * means, dim=1)
    return torch.where(member.any(dim=0)[:, None], new, centroids)


def targeted(
    similarity: Tensor,
    positive: Tensor,
    present: Tensor,
    to_targets: Tensor,
    labels: Tensor,
    temperature: float,
    copies: int = 1,
    weight: float = 1.0,
) -> Tensor:
    """(N,): the contrast of rows with each other or with keys (N, R), and with the target of every class (N, C).

    similarity, to_targets: products of unit vectors; column c of the latter is the target of class c. A target counts as
    `copies` columns; the copies of the own class's target are positives, whose part of the loss has the factor `weight`.
    """
    own = copies * (labels[:, None] == torch.arange(to_targets.shape[1], device=labels.device)).to(similarity.dtype)
    logits = torch.cat([similarity, to_targets], dim=1) / temperature
    counted = torch.cat([present.to(similarity.dtype), torch.full_like(to_targets, copies)], dim=1)
    total = positive.sum(dim=1) + copies
    return contrast(logits, torch.cat([positive.to(similarity.dtype), weight * own], dim=1), counted, total)


class _Targets(Part):
    """A target for each class: unit vectors spread evenly, which are assigned to classes anew in every batch.

    Up to dim + 1 classes, the vectors are the exact optimum, a simplex; more are spread by 10,000 steps of Adam ahead of the
    first epoch. A class's centroid follows its embeddings, current batch included. The assignment maximises the sum of the
    products of centroids and targets over all classes; a class that was not seen yet takes part with its random start.
    """

    targets: Tensor
    centroids: Tensor

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        if dim < 1:
            raise ConfigError(f"dim must be above 0, got {dim}")
        self.exact = num_classes <= dim + 1
        gaussian = torch.randn(num_classes, dim)
        self.register_buffer("targets", simplex(num_classes, dim) if self.exact else F.normalize(gaussian, dim=1))
        self.register_buffer("centroids", F.normalize(torch.randn(num_classes, dim), dim=1))

    def adapt(self, view: View) -> None:
        if view.clock.epoch == 0 and not self.exact:
            self.targets.copy_(spread(self.targets))

    @torch.no_grad()
    def matched(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """(C, P): the target of each class, given the embeddings (B, P) of the batch."""
        check_length(self.targets, embedding)
        centroids = moved(self.centroids, embedding, labels)
        return self.targets[assignment(centroids @ self.targets.T)]

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        embedding = widened(outputs["main"].need("embedding"))
        self.centroids.copy_(moved(self.centroids, embedding, streams["main"].targets.labels))


def check_copies(copies: int) -> None:
    """Raises ConfigError unless each target has at least one copy."""
    if copies < 1:
        raise ConfigError(f"copies must be at least 1, got {copies}")


class TSC(Term):
    """Targeted supervised contrastive learning: KCL whose classes are also drawn to targets that are spread evenly.

    The targets are further rows of the batch, `copies` in each view: no anchors, positives for the rows of their class,
    negatives for the others. dim: length of the embedding. base: as in SupCon. The authors' form for CIFAR; its code has a
    fixed order of classes, where here, as in the paper and in `TSCQueue`, targets are matched to classes in every batch.

    Li et al., 2022, arXiv 2111.13998.
    """

    streams = ("main", "view")
    reads = frozenset({"embedding"})
    mixed = False

    def __init__(
        self, k: int = 6, temperature: float = 0.1, base: float = 0.07, copies: int = 1, dim: int = 128, *, num_classes: int
    ):
        super().__init__()
        check_temperatures(temperature, base)
        check_k(k)
        check_copies(copies)
        self.k, self.temperature, self.base, self.copies = k, temperature, base, copies
        self.targets = _Targets(dim, num_classes)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        embedding, labels = two_views(outputs, streams)
        half = len(labels) // 2
        with torch.autocast(embedding.device.type, enabled=False):
            targets = self.targets.matched(embedding[:half], labels[:half])
            similarity, to_targets = embedding @ embedding.T, embedding @ targets.T
            arguments = (similarity, positives(labels, self.k), ~itself(labels), to_targets, labels, self.temperature)
            return self.temperature / self.base * targeted(*arguments, 2 * self.copies).mean()


class TSCQueue(Term):
    """Targeted supervised contrastive learning with a queue: `KCLQueue` whose classes are also drawn to targets.

    The target of an image's class is always a positive, besides k keys of its class; its part of the loss has the factor
    `weight`. copies: how often each target stands beside the queue. The values are the authors' for ImageNet-LT.

    Li et al., 2022, arXiv 2111.13998.
    """

    streams = ("main", "key")
    reads = frozenset({"embedding"})
    mixed = False

    def __init__(
        self,
        k: int = 6,
        temperature: float = 0.07,
        queue: int = 65536,
        dim: int = 128,
        copies: int = 1,
        weight: float = 0.2,
        *,
        num_classes: int,
    ):
        super().__init__()
        check_k(k)
        check_temperature(temperature)
        check_copies(copies)
        if weight < 0:
            raise ConfigError(f"weight must not be negative, got {weight}")
        self.k, self.temperature, self.copies, self.weight = k, temperature, copies, weight
        self.queue = _Queue(queue, dim)
        self.targets = _Targets(dim, num_classes)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        query, key = (widened(outputs[name].need("embedding")) for name in self.streams)
        labels = streams["main"].targets.labels
        with torch.autocast(query.device.type, enabled=False):
            to_targets = query @ self.targets.matched(query, labels).T
            columns = self.queue.columns(query, key, labels, self.k)
            return targeted(*columns, to_targets, labels, self.temperature, self.copies, self.weight).mean()
