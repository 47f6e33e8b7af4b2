"""ProCo: contrast with all samples that a class could have, drawn from a von Mises-Fisher distribution for each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.representation.bessel import log_bessel
from ltrun.types import ClassStats, Outputs, Streams, View, as_rarest

START = 0.9  # length of the random mean of a class that has no features yet
LARGEST = 1e5  # concentration of a class whose features are all the same


class Means(NamedTuple):
    """values: (C, P), the mean embedding of each class. amounts: (C,), the embeddings that it is of."""

    values: Tensor
    amounts: Tensor

    def of_more(self, embedding: Tensor, labels: Tensor) -> Means:
        """Returns the means with further rows. embedding: (B, P). labels: (B,). The first rows of a class replace its start."""
        own = (labels == torch.arange(len(self.amounts), device=labels.device)[:, None]).to(embedding.dtype)
        number = own.sum(dim=1)
        mean = own @ embedding / number.clamp(min=1)[:, None]
        share = (number / (number + self.amounts).clamp(min=1))[:, None]
        return Means((1 - share) * self.values + share * mean, self.amounts + number)

    def store(self, values: Tensor, amounts: Tensor) -> None:
        """Writes the means into buffers (C, P) and (C,)."""
        values.copy_(self.values)
        amounts.copy_(self.amounts)


def concentrations(means: Tensor) -> Tensor:
    """(C,): p R / (1 - R^2), at most LARGEST, with R the lengths of the means (C, p)."""
    length = means.norm(dim=1)
    kappa = means.shape[1] * length / (1 - length.square())
    return torch.where((kappa < 0) | (kappa > LARGEST), LARGEST, kappa)


def proco_logits(embedding: Tensor, means: Tensor, temperature: float) -> Tensor:
    """(B, C) float64: log of the mean of exp(f . v / temperature) over v from each class's von Mises-Fisher distribution.

    embedding: (B, P) unit vectors f. means: (C, P), without gradient: their lengths give the concentrations. The value is
    log A(|kappa mu + f / temperature|) - log A(kappa), A(k) = I_nu(k) / k^nu with nu = P / 2 - 1.
    """
    features, means = embedding.double(), means.detach().double()
    nu, kappa = features.shape[1] / 2 - 1, concentrations(means)
    pulled = 2 / temperature * features @ (kappa[:, None] * F.normalize(means, dim=1)).T
    squared = kappa.square() + (features.square().sum(dim=1, keepdim=True) / temperature**2) + pulled
    return log_bessel(squared.clamp(min=1e-12).sqrt(), nu) - log_bessel(kappa.clamp(min=1e-6), nu)


class ProCo(Term):
    """Probabilistic contrast, added to the classification loss: the mean over streams `first` and `second` of a cross-entropy.

    Its logits are those of `proco_logits` plus log prior; of the class's own distribution and of the others' an expectation
    takes the place of keys and queue. A distribution is of the class's embeddings of this epoch and the last, the batch
    included; the second stream's has seen the first one's rows. Each epoch drops what is older, and begins to collect the next
    means from random directions. dim: length of the embedding.

    The authors' recurrence for the Bessel function is wrong where concentrations are large; here it is exact, in float64, for
    any dim of at least 2, also an odd one.

    Du et al., 2024, arXiv 2403.06726.
    """

    streams = ("first", "second")
    reads = frozenset({"embedding"})
    mixed = False
    log_prior: Tensor
    means: Tensor
    amounts: Tensor
    next_means: Tensor
    next_amounts: Tensor

    def __init__(self, temperature: float = 0.1, dim: int = 128, *, stats: ClassStats):
        super().__init__()
        if temperature < 1e-3:
            raise ConfigError(f"temperature must be at least 0.001, got {temperature}")
        if dim < 2:
            raise ConfigError(f"dim must be at least 2, got {dim}")
        self.temperature = temperature
        prior = as_rarest(stats.counts).double() / stats.counts.sum()
        self.register_buffer("log_prior", prior.log(), persistent=False)
        for name in ("", "next_"):
            self.register_buffer(f"{name}means", START * F.normalize(torch.randn(stats.num_classes, dim), dim=1))
            self.register_buffer(f"{name}amounts", torch.zeros(stats.num_classes))

    def adapt(self, view: View) -> None:
        self._next().store(self.means, self.amounts)
        start = torch.randn(self.means.shape, generator=view.generator, device=view.generator.device)
        self.next_means.copy_(START * F.normalize(start, dim=1))
        self.next_amounts.zero_()

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        losses, means = [], Means(self.means, self.amounts)
        for name in self.streams:
            embedding, labels = widened(outputs[name].need("embedding")), streams[name].targets.labels
            if embedding.shape[1] != self.means.shape[1]:
                raise ConfigError(f"dim must equal the projector's out, {embedding.shape[1]}, got {self.means.shape[1]}")
            with torch.autocast(embedding.device.type, enabled=False):
                means = means.of_more(embedding.detach(), labels)
                logits = proco_logits(embedding, means.values, self.temperature)
                losses.append(F.cross_entropy(logits + self.log_prior, labels))
        return torch.stack(losses).mean().float()

    @torch.no_grad()
    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        now, coming = Means(self.means, self.amounts), self._next()
        for name in self.streams:
            embedding, labels = widened(outputs[name].need("embedding")), streams[name].targets.labels
            now, coming = now.of_more(embedding, labels), coming.of_more(embedding, labels)
        now.store(self.means, self.amounts)
        coming.store(self.next_means, self.next_amounts)

    def _next(self) -> Means:
        return Means(self.next_means, self.next_amounts)
