"""ACE's loss and pace: each expert learns its own classes, at a rate that follows its share of the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network.complementary import Complementary, nested_classes
from ltrun.parts import Descent, Network, Objective, Outcome, Term, Update
from ltrun.targets import one_label
from ltrun.types import ClassStats, Labels, Outputs, Streams

FAR = 1e4  # what the logits of foreign classes lose in the softmax, which gives them a probability of exactly 0


def ace(experts: Tensor, targets: Labels, owns: Tensor, base: Callable[[Tensor, Labels], Tensor], complement: float) -> Tensor:
    """A scalar: over experts, the sum of the base loss of their own images and `complement` times their foreign logits squared.

    experts: (E, B, C). owns: (E, C) bool, the classes of each expert. An image belongs to the experts that own its label. base:
    logits (B, C) and labels with weights of 0 for other images -> their loss, divided by B. The squares are summed over the
    classes that an expert does not own; both are means over its images.
    """
    losses = []
    for logits, own in zip(experts, owns, strict=True):
        weight = targets.weight * own[targets.index]
        foreign = logits * ~own
        known = base(logits - FAR * (~own).to(logits), Labels(targets.index, weight)) * len(logits)
        squares = (weight.sum(dim=1) * foreign.square().sum(dim=1)).sum()
        losses.append((known + complement * squares) / weight.sum().clamp(min=1e-12))
    return torch.stack(losses).sum()


class ACE(Term):
    """Ally complementary experts: the run's classification loss of each expert, on the images and among the classes it owns.

    complement: weight of the squared logits of the classes that an expert does not own, which silences it there. A batch
    without images of an expert's classes teaches it nothing. The weight is not known from the paper's public text.

    Cai et al., 2021, arXiv 2108.02385.
    """

    reads = frozenset({"experts", "owners"})

    def __init__(self, complement: float = 1.0, *, classify: Classification, network: Network):
        super().__init__()
        if complement < 0:
            raise ConfigError(f"complement must not be negative, got {complement}")
        self.complement, self.classify, self.held = complement, classify, (network,)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        owns = cast(Complementary, self.held[0]).owns

        def base(logits: Tensor, own: Labels) -> Tensor:
            return self.classify.loss(logits, own, output)

        return ace(output.need("experts"), targets, owns, base, self.complement)


class Paced(Update):
    """ACE's distribution-adaptive optimizer: the rate of an expert is the run's, times its share of the training images.

    A step with the whole rate is taken, and each expert keeps its share of it, which is a step at that share of the rate for
    every optimizer. Shared layers and the first expert, which owns all classes, have the whole rate.

    Cai et al., 2021, arXiv 2108.02385.
    """

    def __init__(self, *, network: Network, stats: ClassStats):
        super().__init__()
        counts = stats.counts.double()
        self.shares = [float((own * counts).sum() / counts.sum()) for own in nested_classes(stats)]
        experts = cast(Complementary, network).network
        paced = [
            (1 - share, parameter)
            for share, branch, head in zip(self.shares, experts.branches, experts.heads, strict=True)
            for parameter in (*branch.parameters(), *head.parameters())
            if share < 1
        ]
        self.back = [share for share, _ in paced]
        self.paced: list[Tensor] = [
            parameter for _, parameter in paced
        ]  # a plain list, because the network owns the parameters

    def forward(self, objective: Objective, optimizer: Descent, streams: Streams) -> Outcome:
        values, outputs, streams = objective(streams)
        optimizer.zero_grad(set_to_none=True)
        values["total"].backward()
        before = [parameter.detach().clone() for parameter in self.paced]
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.paced, before, self.back)
        return values, outputs, streams
