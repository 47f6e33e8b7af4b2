"""SupCon: the views of images of one class are near each other, and far from all others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.types import Outputs, Streams


def contrast(logits: Tensor, weight: Tensor, copies: Tensor, total: Tensor | None = None) -> Tensor:
    """(N,): -sum_j(weight_ij * log p_ij) / total_i, p the softmax of a row of logits (N, R); 0 for a row without positives.

    weight: (N, R), 0 except for positives. copies: (N, R), how often a column stands in the denominator, 0 for an absent one.
    total: (N,), the sum of the weights unless given.
    """
    weight, copies = weight.to(logits.dtype), copies.to(logits.dtype)
    log_p = logits - (logits + copies.log()).logsumexp(dim=1, keepdim=True)
    total = weight.sum(dim=1) if total is None else total.to(logits.dtype)
    return -(weight * log_p).sum(dim=1) / torch.where(total > 0, total, 1)


def supcon(embedding: Tensor, labels: Tensor, temperature: float, base: float = 0.07, positive: Tensor | None = None) -> Tensor:
    """A scalar: T / base times the mean over R rows of the mean of -log p over the positives of a row.

    embedding: (R, P) unit vectors of all views. labels: (R,). positive: (R, R) bool, all rows of the class unless given; a row
    itself never counts. Labels that no two images share make it SimCLR's loss.
    """
    others = ~itself(labels)
    positive = same(labels) if positive is None else positive
    return temperature / base * contrast(embedding @ embedding.T / temperature, positive & others, others).mean()


def same(labels: Tensor) -> Tensor:
    """(R, R) bool: whether two rows have one label (R,)."""
    return labels[:, None] == labels


def itself(labels: Tensor) -> Tensor:
    """(R, R) bool: the diagonal."""
    return torch.eye(len(labels), dtype=torch.bool, device=labels.device)


def other_view(labels: Tensor) -> Tensor:
    """(R, R) bool: the other view of a row's image, where the second half of R rows are the other views of the first half."""
    return itself(labels).roll(len(labels) // 2, dims=0)


def check_temperatures(temperature: float, base: float) -> None:
    """Raises ConfigError unless both temperatures are above 0."""
    if temperature <= 0 or base <= 0:
        raise ConfigError(f"temperature and base must be above 0, got {temperature} and {base}")


def two_views(outputs: Mapping[str, Outputs], streams: Streams) -> tuple[Tensor, Tensor]:
    """(2 B, P) embeddings and (2 B,) labels: of stream `main`, then of stream `view`, another view of the same images."""
    embedding = torch.cat([widened(outputs[name].need("embedding")) for name in ("main", "view")])
    return embedding, torch.cat([streams[name].targets.labels for name in ("main", "view")])


class SupCon(Term):
    """Supervised contrastive learning: each of the 2 B views has all other views of its class as positives.

    The loss is multiplied by temperature / base, as in the authors' code. It trains features and projector, not the classifier,
    which a later stage trains, such as decoupling=linear.

    Khosla et al., 2020, arXiv 2004.11362.
    """

    streams = ("main", "view")
    reads = frozenset({"embedding"})
    mixed = False

    def __init__(self, temperature: float = 0.1, base: float = 0.07):
        super().__init__()
        check_temperatures(temperature, base)
        self.temperature, self.base = temperature, base

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        embedding, labels = two_views(outputs, streams)
        with torch.autocast(embedding.device.type, enabled=False):  # bf16 would lose the third digit of similarity / 0.1
            return supcon(embedding, labels, self.temperature, self.base)
