"""RIDE's routing stage: a router learns, on frozen experts, which images need a further expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.network.routed_experts import RoutedExperts
from ltrun.parts import Network, Term
from ltrun.types import Outputs, Streams


def worth_asking(experts: Tensor, labels: Tensor) -> Tensor:
    """(E - 1, B): whether experts 0 to i are wrong together, and right together with some further experts.

    experts: (E, B, C). labels: (B,). Experts together are the sum of their logits.
    """
    right = experts.cumsum(dim=0).argmax(dim=2) == labels
    later = right[1:].flip(0).cummax(dim=0).values.flip(0)
    return ~right[:-1] & later


def routing(asks: Tensor, worth: Tensor, positive_weight: float) -> Tensor:
    """A scalar: the binary cross-entropy of asks, with images worth asking weighted, a mean over rows and experts.

    asks: (E - 1, B), logits. worth: (E - 1, B), bool.
    """
    weight = torch.full_like(asks[0, 0], positive_weight)
    return F.binary_cross_entropy_with_logits(asks, worth.to(asks), pos_weight=weight)


class RIDERouting(Term):
    """RIDE's expert assignment: the router learns to ask for a further expert where the experts so far are wrong and one helps.

    positive_weight: of the images for which it is worth asking; larger values ask more often. 100 is the value of the authors'
    scripts, 20 the code's default. The experts are frozen, with batch normalisations in evaluation mode.

    Wang et al., 2021, arXiv 2010.01809.
    """

    mixed = False
    reads = frozenset({"experts", "router"})

    def __init__(self, positive_weight: float = 100.0, *, network: Network):
        super().__init__()
        if positive_weight <= 0:
            raise ConfigError(f"positive_weight must be above 0, got {positive_weight}")
        self.positive_weight, self.held = positive_weight, (network,)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, labels = outputs["main"], streams["main"].targets.labels
        experts = output.need("experts").detach()
        asks = cast(RoutedExperts, self.held[0]).asks(output.need("features").detach(), experts)
        return routing(asks, worth_asking(experts, labels), self.positive_weight)
