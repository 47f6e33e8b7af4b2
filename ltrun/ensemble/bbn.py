"""BBN's loss: a sum over two branches, weighted from the conventional to the re-balancing one over training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.loss import Classification
from ltrun.metrics import BOTH
from ltrun.network.bilateral import alpha
from ltrun.parts import Term
from ltrun.types import Outputs, Streams, View


class BBN(Term):
    """Cumulative learning: alpha * loss(logits, labels of `main`) + (1 - alpha) * loss(logits, labels of `reversed`).

    The logits come from the mixed features of the bilateral network, whose alpha follows the same schedule. The loss is the
    run's classification loss, which is plain cross-entropy in the paper.

    Zhou et al., 2020, arXiv 1912.02413.
    """

    accepts = BOTH
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
