"""GML: Gaussian mixture likelihood, a contrast in which the score of a class is a mean over all its keys."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.network.plain import perceptron
from ltrun.numerics import in_float32, widened
from ltrun.parts import Network, Term
from ltrun.representation.class_queue import ClassQueue
from ltrun.representation.queue import EMPTY
from ltrun.types import ClassStats, Outputs, Streams, as_rarest


def mixture_contrast(
    query: Tensor,
    keys: Tensor,
    labels: Tensor,
    key_labels: Tensor,
    left_out: Tensor,
    log_prior: Tensor,
    temperature: Tensor | float,
) -> Tensor:
    """A scalar: the mean cross-entropy of S + log prior, S_c the log of the mean of exp(q . k / T) over the keys k of class c.

    query: (B, P), keys: (K, P), unit vectors. labels: (B,), key_labels: (K,), EMPTY for a key to ignore. left_out: (B, K) bool,
    keys that do not count for a query, all of its class. log_prior: (C,). A class without keys has no score, and a query
    without a key of its class no loss.
    """
    empty, same = key_labels == EMPTY, labels[:, None] == key_labels
    known = key_labels.clamp(min=0)
    number = torch.zeros(len(log_prior), dtype=torch.int64, device=labels.device).index_add(0, known, (~empty).long())
    own = number[labels] - left_out.sum(dim=1)
    found = (own > 0)[:, None]
    count = torch.where(same, own[:, None], number[known]).clamp(min=1).to(log_prior.dtype)
    scores = query @ keys.T / temperature + (log_prior[known] - count.log())
    scores = scores.masked_fill((left_out & found) | empty, -torch.inf)
    loss = scores.logsumexp(dim=1) - scores.masked_fill(~same & found, -torch.inf).logsumexp(dim=1)
    return loss.sum() / found.sum().clamp(min=1)


class GML(Term):
    """Gaussian mixture likelihood, added to the classification loss: queries of the network, keys of a teacher's features.

    A query is the embedding of stream `query`. The keys are the teacher's features of this batch and of a queue, passed through
    a perceptron of their own, D -> D -> dim with batch normalisation over the keys, which is thrown away after training. Of two
    sums, one trains network and perceptron, with all keys; the other, without the keys of the query's own image, trains the
    temperature alone. queue: number of slots, of which every class has `base` and a share that follows its images, kept for
    its own newest features; empty slots give no scores, where the authors' queue begins with random vectors. dim: length of the
    embedding. The keys are of the images that the classifier sees, where the authors augment a third time.

    The paper's classification loss is logit-adjusted, with a cosine classifier of scale 30; a divergence from the teacher with
    temperature 4 is a term of its own. The authors' teacher is a ResNet-56.

    Suh and Seo, 2023, arXiv 2305.01160.
    """

    streams = ("main", "query")
    teachers = ("teacher",)
    reads = frozenset({"embedding"})
    mixed = False
    log_prior: Tensor

    def __init__(
        self,
        temperature: float = 0.1,
        queue: int = 4096,
        base: int = 2,
        dim: int = 32,
        *,
        stats: ClassStats,
        teachers: Mapping[str, Network],
    ):
        super().__init__()
        if temperature <= 0 or dim < 1:
            raise ConfigError(f"temperature and dim must be above 0, got {temperature} and {dim}")
        length = teachers["teacher"].features
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.queue = ClassQueue(stats.counts, queue, base, length)
        self.keys = perceptron([length, length, dim], norm=True, tracks=False)
        prior = as_rarest(stats.counts).double() / stats.counts.sum()
        self.register_buffer("log_prior", prior.log().float(), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        query, batch = widened(outputs["query"].need("embedding")), streams["main"]
        labels, earlier = batch.targets.labels, self.queue
        features = torch.cat([widened(outputs["teacher"].need("features")).detach(), earlier.features])
        keys = F.normalize(in_float32(self.keys, features), dim=1)
        if query.shape[1] != keys.shape[1]:
            raise ConfigError(f"dim must equal the projector's out, {query.shape[1]}, got {keys.shape[1]}")
        key_labels = torch.cat([labels, earlier.labels])
        itself = batch.rows[:, None] == torch.cat([batch.rows, earlier.rows])
        temperature = self.log_temperature.exp()
        with torch.autocast(query.device.type, enabled=False):
            pairs = (
                (query, keys, torch.zeros_like(itself), temperature.detach()),
                (query.detach(), keys.detach(), itself, temperature),
            )
            return torch.stack([
                mixture_contrast(q, k, labels, key_labels, left_out, self.log_prior, t) for q, k, left_out, t in pairs
            ]).sum()  # fmt: skip

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        batch = streams["main"]
        self.queue.store(outputs["teacher"].need("features"), batch.targets.labels, batch.rows)
