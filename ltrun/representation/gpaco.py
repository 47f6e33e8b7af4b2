"""GPaCo: generalised parametric contrast, in which both views of an image are anchors of one network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.representation.paco import check_arguments, log_prior, paco
from ltrun.representation.queue import EMPTY, check_length, enqueue
from ltrun.types import ClassStats, Outputs, Streams


class GPaCo(Term):
    """Generalised PaCo: PaCo's loss, the run's whole classification loss, of 2N anchors, without a slow network.

    The network itself sees both views, `main` and `key`, and both are anchors: their logits plus log(prior + 1e-9) and their
    similarities to each other and to a queue of earlier keys compete in one softmax. smooth: share of the label that the other
    C - 1 classes get. The other arguments, and the empty slots of the queue, are as in PaCo.

    Cui et al., 2022, arXiv 2209.12400.
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
        smooth: float = 0.0,
        queue: int = 1024,
        dim: int = 32,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        check_arguments(alpha, beta, gamma, temperature, queue, dim)
        if not 0 <= smooth < 1:
            raise ConfigError(f"smooth must be at least 0 and below 1, got {smooth}")
        self.alpha, self.beta, self.gamma, self.temperature, self.smooth = alpha, beta, gamma, temperature, smooth
        self.register_buffer("log_prior", log_prior(stats), persistent=False)
        self.register_buffer("keys", torch.zeros(queue, dim))
        self.register_buffer("key_labels", torch.full((queue,), EMPTY))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        views = [outputs[name] for name in self.streams]
        anchors = torch.cat([widened(view.need("embedding")) for view in views])
        check_length(self.keys, anchors)
        with torch.autocast(anchors.device.type, enabled=False):
            return paco(
                torch.cat([widened(view.need("logits")) for view in views]) + self.log_prior,
                anchors,
                self.keys,
                torch.cat([streams[name].targets.labels for name in self.streams]),
                self.key_labels,
                self.alpha,
                self.beta,
                self.gamma,
                self.temperature,
                self.smooth,
            )

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        key, labels = outputs["key"].need("embedding"), streams["key"].targets.labels
        enqueue(self.cursor, (self.keys, key), (self.key_labels, labels))
