"""BAGS's loss: a softmax cross-entropy within each group of classes of similar counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ltrun.classifier.bags import GroupedHead, log_totals
from ltrun.errors import ConfigError
from ltrun.parts import Network, Term
from ltrun.types import Outputs, Streams


def kept_rows(members: Tensor, draws: Tensor, ratio: float) -> Tensor:
    """(B, G) bool: the members of a group, and of the other images at most int(ratio * members), those with the least draws.

    members: (B, G) bool, whether an image's class is in a group. draws: (B, G).
    """
    rank = draws.masked_fill(members, torch.inf).argsort(dim=0).argsort(dim=0)
    return members | (rank < (ratio * members.sum(dim=0)).floor())


def group_losses(logits: Tensor, others: Tensor, labels: Tensor, groups: Tensor, keep: Tensor) -> Tensor:
    """(G,): the cross-entropy within each group, a mean over the kept images; 0 for a group without any.

    logits: (B, C). others: (B, G). labels: (B,). groups: (G, C) bool. keep: (B, G) bool. In a group without
    its class, an image's label is the others.
    """
    members = groups[:, labels].T
    chosen = torch.where(members, logits.gather(1, labels[:, None]), others)
    losses = log_totals(logits, others, groups) - chosen
    return (keep * losses).sum(dim=0) / keep.sum(dim=0).clamp(min=1)


class BAGS(Term):
    """Balanced group softmax: the sum of the cross-entropies within groups of classes of similar counts; needs classifier=bags.

    ratio: in a group, the images of other groups count for its others, but at most `ratio` times as many as its own, drawn anew
    in each batch. The foreground and background of detectors are left out.

    Li et al., 2020, arXiv 2006.10408.
    """

    mixed = False
    reads = frozenset({"features", "logits", "groups", "head"})  # of one classifier

    def __init__(self, ratio: float = 8.0, *, network: Network):
        super().__init__()
        if ratio <= 0:
            raise ConfigError(f"ratio must be above 0, got {ratio}")
        self.ratio, self.held = ratio, (network,)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, labels = outputs["main"], streams["main"].targets.labels
        head = cast(GroupedHead, self.held[0].get_submodule("head"))
        logits, others = output.need("logits"), head.others(output.need("features"))
        draws = torch.rand(others.shape, device=others.device)
        keep = kept_rows(head.groups[:, labels].T, draws, self.ratio)
        return group_losses(logits, others, labels, head.groups, keep).sum()
