"""The loss of two branches whose weight moves from one to the other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.loss import Classification
from ltrun.network.bilateral import alpha
from ltrun.parts import Term
from ltrun.types import Outputs, Streams, View


class BBN(Term):
    """alpha * loss(logits, labels of `main`) + (1 - alpha) * loss(logits, labels of `reversed`).

    The logits are those of the mixed features of the bilateral network, whose alpha follows the same rule. The loss is the
    run's classification loss, plain cross-entropy in the paper.

    Zhou et al., 2020, arXiv 1912.02413.
    """

    streams = ("main", "reversed")
    balances = True
    alpha: Tensor

    def __init__(self, *, classify: Classification):
        super().__init__()
        self.classify = classify
        self.register_buffer("alpha", torch.ones(()))

    def adapt(self, view: View) -> None:
        self.alpha.fill_(alpha(view.clock.epoch, view.clock.epochs))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output = outputs["main"]
        logits = output.need("logits")
        conventional = self.classify.loss(logits, streams["main"].targets, output)
        rebalancing = self.classify.loss(logits, streams["reversed"].targets, output)
        return self.alpha * conventional + (1 - self.alpha) * rebalancing
