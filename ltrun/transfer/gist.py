"""GIST: offsets that all class vectors share, learnt from instance-sampled images beside a class-balanced classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from torch import Tensor

from ltrun.classifier.gist import GISTHead
from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Network, Term
from ltrun.types import Outputs, Streams


class GIST(Term):
    """Geometric structure transfer: loss of `main` by the instance-sampled class vectors + `weight` * loss of `balanced`.

    `main` is sampled by instances, `balanced` class by class. Both losses are the run's classification loss, in the paper plain
    cross-entropy. Needs classifier=gist. The authors pass both batches through the network as one; here each has its own
    batch statistics.

    Liu et al., 2021, arXiv 2105.00131.
    """

    streams = ("main", "balanced")
    reads = frozenset({"features", "logits", "head", "shapes"})

    def __init__(self, weight: float = 0.5, *, classify: Classification, network: Network):
        super().__init__()
        if weight < 0:
            raise ConfigError(f"weight must be at least 0, got {weight}")
        self.weight, self.classify, self.held = weight, classify, (network,)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        main, balanced = outputs["main"], outputs["balanced"]
        head = cast(GISTHead, self.held[0].get_submodule("head"))
        logits = head.of_instances(main.need("features"))
        instance = self.classify.loss(logits, streams["main"].targets, replace(main, logits=logits, head=head.instance))
        return instance + self.weight * self.classify.loss(balanced.need("logits"), streams["balanced"].targets, balanced)
