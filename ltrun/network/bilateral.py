"""Bilateral-branch network: two branches on a shared trunk, whose features are mixed by a weight that follows the epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.backbone import INPUTS
from ltrun.network.plain import classify
from ltrun.numerics import widened
from ltrun.parts import Backbone, Head, Network
from ltrun.types import Outputs, Streams, View


def alpha(epoch: int, epochs: int) -> float:
    """The share of the conventional branch: 1 - (epoch / epochs)^2 with epoch counted from 0.

    Exactly 1 in the first epoch and above 0 in the last. The authors' code rounds a length of 90 epochs to 100, and
    of 180 to 200; here no length is rounded.
    """
    return 1 - (epoch / epochs) ** 2


def mix(conventional: Tensor, rebalancing: Tensor, alpha: float | Tensor) -> Tensor:
    """(B, 2 D): the features of both branches, weighted by alpha and 1 - alpha; the factor 2 keeps their scale."""
    return 2 * torch.cat([alpha * widened(conventional), (1 - alpha) * widened(rebalancing)], dim=1)


class Bilateral(Network):
    """The two-branch network of BBN: all but the last block is shared; one head reads the features of both branches.

    In training the conventional branch sees stream `main`, the re-balancing branch stream `reversed`, batches of the same
    size; both names get the same outputs, computed from the mixed features. At test time both branches see the same image and
    their features are concatenated without weights. 538,778 parameters for 10 classes. The authors' linear head has PyTorch's
    initialisation; here the classifier slot makes the head.

    Zhou et al., 2020, arXiv 1912.02413.
    """

    streams = ("main", "reversed")
    acts_from = 1
    alpha: Tensor

    def __init__(self, *, backbone: Backbone, make_head: Callable[[int], Head]):
        super().__init__()
        self.trunk, branches = backbone.fork("penultimate_block", copies=2)
        self.branches = nn.ModuleList(branches)
        self.head = make_head(sum(branch.features for branch in branches))
        self.register_buffer("alpha", torch.ones(()))

    @classmethod
    def places_of(cls, arguments: Mapping[str, Any]) -> list[str]:
        return [INPUTS, "features"]

    def adapt(self, view: View) -> None:
        self.alpha.fill_(alpha(view.clock.epoch, view.clock.epochs))

    def forward(self, streams: Streams, need: Sequence[str]) -> dict[str, Outputs]:
        conventional, rebalancing = (
            branch(self.trunk(streams[name].inputs)) for name, branch in zip(self.streams, self.branches, strict=True)
        )
        outputs = self.decide(mix(conventional, rebalancing, self.alpha))
        return dict.fromkeys(need, outputs)

    def encode(self, inputs: Tensor) -> Tensor:
        """(B, 2 D): the features of both branches, side by side."""
        shared = self.trunk(inputs)
        return torch.cat([branch(shared) for branch in self.branches], dim=1)

    def decide(self, features: Tensor) -> Outputs:
        return classify(self.head, features)
