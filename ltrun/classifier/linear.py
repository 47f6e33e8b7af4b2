"""Linear classifier: a matrix product and a bias."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.parts import Head


class Linear(Head):
    """logits = features W^T + b.

    W is initialised by `kaiming_normal_` like the convolutions of the CIFAR ResNets of LDAM-DRW, b uniformly within
    1 / sqrt(D) of 0, as in PyTorch.
    """

    provides = frozenset({"products"})

    def __init__(self, bias: bool = True, *, features: int, num_classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, features))
        self.bias = nn.Parameter(torch.empty(num_classes)) if bias else None
        nn.init.kaiming_normal_(self.weight)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -(features**-0.5), features**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight, self.bias)

    @property
    def classes(self) -> Tensor:
        return self.weight
