"""BAGS's classifier: classes in groups of similar counts, each with a logit for the classes of all other groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Head, Part
from ltrun.types import ClassStats


def grouped(counts: Tensor, bins: Sequence[float]) -> Tensor:
    """(G, C) bool: the classes with a count of at least one bound of `bins` and below the next; groups without classes are left
    out."""
    group = torch.bucketize(counts, torch.tensor(bins, device=counts.device), right=True)
    masks = group == torch.arange(len(bins) + 1, device=counts.device)[:, None]
    return masks[masks.any(dim=1)]


def log_totals(logits: Tensor, others: Tensor, groups: Tensor) -> Tensor:
    """(B, G): the logarithm of each group's sum of exponentials, its classes and its others. logits: (B, C). others: (B, G)."""
    own = [logits.masked_fill(~group, -torch.inf).logsumexp(dim=1) for group in groups]
    return torch.logaddexp(torch.stack(own, dim=1), others)


def merged(logits: Tensor, others: Tensor, groups: Tensor) -> Tensor:
    """(B, C): the logarithm of each class's probability within its group, which includes the others."""
    return logits - log_totals(logits, others, groups) @ groups.to(logits)


class GroupedHead(Head):
    """A linear classifier with a further logit for each group of classes, which stands for the classes of all other groups.

    bins: counts at which a further group begins; 10, 100 and 1000 are the authors' for instances of LVIS. In training mode the
    logits are plain, and `others` gives the further ones; in evaluation mode they are logarithms of the probabilities of the
    classes within their groups, which predict. Trained by ltrun.ensemble.BAGS.

    Li et al., 2020, arXiv 2006.10408.
    """

    accepts = Part.accepts  # a softmax for each group
    provides = frozenset({"groups"})
    groups: Tensor

    def __init__(self, bins: Sequence[float] = (10, 100, 1000), *, features: int, num_classes: int, stats: ClassStats):
        super().__init__()
        if not bins or any(before >= after for before, after in pairwise(bins)):
            raise ConfigError(f"bins must be rising counts, at least one, got {list(bins)}")
        self.register_buffer("groups", grouped(stats.counts, bins), persistent=False)
        self.weight = nn.Parameter(torch.empty(num_classes + len(self.groups), features))
        self.bias = nn.Parameter(torch.empty(len(self.weight)).uniform_(-(features**-0.5), features**-0.5))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        classes, groups = self.groups.shape[1], self.groups
        logits = F.linear(features, self.weight, self.bias)
        return logits[:, :classes] if self.training else merged(logits[:, :classes], logits[:, classes:], groups)

    def others(self, features: Tensor) -> Tensor:
        """(B, G): the logit of each group for the classes of all others."""
        classes = self.groups.shape[1]
        return F.linear(features, self.weight[classes:], self.bias[classes:])

    @property
    def classes(self) -> Tensor:
        return self.weight[: self.groups.shape[1]]
