"""Bayias: the log ratio of training and test class shares in the softmax of the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, as_rarest


def bayias(counts: Tensor, test: Tensor) -> Tensor:
    """(C,) float64: log of a class's share of the training images over its share of the test images.

    counts, test: (C,) in any unit. A class without images counts as the rarest class with images.
    """
    train = as_rarest(counts).double()
    return (train / train.sum()).log() - (test / test.sum()).log()


class Bayias(Adjust):
    """Bayias compensation: adds log(train share / test share) of each class to the logits of the loss; plain logits predict.

    test: weights of the classes in the test distribution; null is uniform, which equals balanced softmax.

    Xu et al., 2021, arXiv 2111.03874.
    """

    balances = True
    offset: Tensor

    def __init__(self, test: Sequence[float] | None = None, *, stats: ClassStats):
        super().__init__()
        classes = stats.num_classes
        if test is not None and (len(test) != classes or min(test) <= 0):
            raise ConfigError(f"test must be a number above 0 for each of {classes} classes, got {list(test)}")
        shares = torch.ones(classes, dtype=torch.float64) if test is None else torch.tensor(list(test), dtype=torch.float64)
        self.register_buffer("offset", bayias(stats.counts, shares).float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + self.offset
