"""SBCL: supervised contrastive learning of subclasses, clusters of a head class that are as small as a tail class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.representation.supcon import TwoViews, contrast, other_view, same, supcon
from ltrun.types import ClassStats, View, fraction_of

ITERATIONS = 25  # of k-means, at most
ROWS = 250  # images that are embedded at once


def kmeans(rows: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """(n,) int64: the cluster of each row (n, P), by cosine, from `clusters` rows drawn at random."""
    unit = F.normalize(rows, dim=1)
    centres = unit[torch.randperm(len(rows), generator=generator)[:clusters].to(rows.device)]
    found = torch.full((len(rows),), -1, device=rows.device)
    for _ in range(ITERATIONS):
        last, found = found, (unit @ F.normalize(centres, dim=1).T).argmax(dim=1)
        if torch.equal(found, last):
            break
        member = F.one_hot(found, clusters).to(rows.dtype)
        sizes = member.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, member.T @ rows / sizes.clamp(min=1), centres)
    return found


def scatter(rows: Tensor) -> Tensor:
    """A scalar: the mean distance of rows (n, P) from their mean, over log(n + 10)."""
    return (rows - rows.mean(dim=0)).norm(dim=1).mean() / torch.tensor(len(rows) + 10.0, device=rows.device).log()


def temperatures(scatters: Tensor, divided: Tensor, temperature: float) -> Tensor:
    """(C,): temperature * scatter / mean scatter, scatters (C,) clipped to their 10th and 90th percentile.

    A class that is not divided (C,), or whose rows are all equal, has `temperature` itself.
    """
    ends = scatters.quantile(torch.tensor([0.1, 0.9], dtype=scatters.dtype, device=scatters.device))
    clipped = scatters.clamp(*ends)
    return torch.where(divided & (clipped > 0), temperature * clipped / clipped.mean(), temperature)


def between_subclasses(embedding: Tensor, labels: Tensor, subclasses: Tensor, temperatures: Tensor) -> Tensor:
    """A scalar: the mean contrast of R rows with the other view and the other subclasses of their class.

    The own subclass, all but the other view, stands outside the denominator. embedding: (R, P), labels, subclasses: (R,).
    temperatures: (C,), of the anchor's class.
    """
    others, view = ~same(subclasses), other_view(labels)
    logits = embedding @ embedding.T / temperatures[labels, None]
    return contrast(logits, same(labels) & others | view, others | view).mean()


class SBCL(TwoViews):
    """Subclass-balancing contrastive learning: SupCon of subclasses, and, weaker, of the subclasses of one class.

    Every `every` of the stage, k-means divides each class into max(1, n_c // max(n_min, size)) subclasses, by the embeddings of
    augmented training images; before the first time, classes are whole and the second loss is off. A class with wide
    embeddings gets a higher temperature in the second loss, whose weight is `beta`.

    Hou et al., 2023, arXiv 2306.15925.
    """

    acts_from = 1
    subclasses: Tensor
    temperatures: Tensor
    beta: Tensor

    def __init__(
        self,
        temperature: float = 0.1,
        base: float = 0.07,
        beta: float = 0.25,
        size: int = 10,
        every: float = 0.01,
        *,
        stats: ClassStats,
    ):
        super().__init__(temperature, base)
        if beta < 0 or size < 1 or not 0 < every <= 1:
            raise ConfigError(
                f"beta must be at least 0, size at least 1, and every above 0 and at most 1, got {beta}, {size}, {every}"
            )
        self.weight, self.every = beta, every
        counts = stats.counts
        self.clusters = (counts // max(int(counts[counts > 0].min()), size)).clamp(min=1).tolist()
        self.register_buffer("subclasses", torch.zeros(int(counts.sum()), dtype=torch.int64))
        self.register_buffer("temperatures", torch.full((len(counts),), temperature))
        self.register_buffer("beta", torch.zeros(()))

    def adapt(self, view: View) -> None:
        clock = view.clock
        period = max(1, fraction_of(clock.epochs, self.every))
        if clock.epoch == 0:
            self.subclasses.copy_(view.labels)
        elif clock.epoch % period == 0:
            self._divide(view)
            self.beta.fill_(self.weight)

    def _divide(self, view: View) -> None:
        """Clusters the embeddings of each class anew."""
        labels = view.labels.to(self.subclasses.device)
        batches = (view.augment(view.open(rows)).inputs for rows in torch.arange(len(labels)).split(ROWS))
        embedding = torch.cat([widened(view.predict(inputs).need("embedding")) for inputs in batches])
        scatters, first = torch.zeros(len(self.clusters), device=labels.device), 0
        seen = torch.zeros(len(self.clusters), dtype=torch.bool, device=labels.device)
        for label, clusters in enumerate(self.clusters):
            rows = (labels == label).nonzero()[:, 0]
            if len(rows):
                seen[label], scatters[label] = True, scatter(embedding[rows])
                self.subclasses[rows] = first + kmeans(embedding[rows], clusters, view.generator)
            first += clusters
        divided = torch.tensor(self.clusters, device=labels.device)[seen] > 1
        self.temperatures[seen] = temperatures(scatters[seen], divided, self.temperature)

    def loss(self, embedding: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        subclasses = self.subclasses[rows].repeat(2)
        within = supcon(embedding, subclasses, self.temperature, self.base)
        return within + self.beta * between_subclasses(embedding, labels, subclasses, self.temperatures)
