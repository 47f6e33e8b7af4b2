"""Experts on nested sets of classes, whose scores of a class are averaged over the experts that own it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.network.experts import Experts, stacked
from ltrun.numerics import widened
from ltrun.parts import Head, Network
from ltrun.resampling.shot_group import shot_groups
from ltrun.types import ClassStats, Outputs


def nested_classes(stats: ClassStats) -> Tensor:
    """(3, C) bool: the classes of each expert: all, the medium- and few-shot ones, and the few-shot ones; see `shot_groups`."""
    many, medium, few = shot_groups(stats).values()
    return torch.stack([many | medium | few, medium | few, few])


def group_average(experts: Tensor, owns: Tensor, scales: Tensor) -> Tensor:
    """(B, C): the logits of each class, times scales (E,), averaged over the experts that own it. owns: (E, C) bool."""
    share = owns.to(experts) / owns.sum(dim=0)
    return (share[:, None] * scales[:, None, None] * experts).sum(dim=0)


class Complementary(Network):
    """ACE's network: three experts, for all classes, the medium-shot and few-shot ones, and the few-shot ones alone.

    The shared layers learn from the first expert alone. A class's score is the mean of the logits of the experts that own it;
    logits that are products are first brought to the scale of the first expert, by the mean lengths of the class weights that
    each owns. The authors' code is not public; the scale is an unrelated port's.

    Cai et al., 2021, arXiv 2108.02385.
    """

    provides = Experts.provides | {"owners"}
    owns: Tensor

    def __init__(self, network: Experts, *, stats: ClassStats):
        super().__init__()
        owns = nested_classes(stats)
        if len(network.heads) != len(owns):
            raise ConfigError(f"network.num_experts must be {len(owns)}, one for each set of classes, got {len(network.heads)}")
        self.network = network
        self.register_buffer("owns", owns, persistent=False)

    @classmethod
    def places_of(cls, arguments: Mapping[str, Any]) -> list[str]:
        return ["inputs", "features"]

    @property
    def features(self) -> int:
        return self.network.features

    def encode(self, inputs: Tensor) -> Tensor:
        shared = self.network.trunk(inputs)
        seen = [shared, *[shared.detach()] * (len(self.network.branches) - 1)]
        return stacked([widened(branch(maps)) for branch, maps in zip(self.network.branches, seen, strict=True)])

    def decide(self, features: Tensor) -> Outputs:
        outputs = self.network.decide(features)
        return replace(outputs, logits=group_average(outputs.need("experts"), self.owns, self.scales()))

    def scales(self) -> Tensor:
        """(E,): the mean length of the first expert's class weights over the mean length of those that an expert owns."""
        heads = [cast(Head, head) for head in self.network.heads]
        if not all("products" in head.provides for head in heads):
            return torch.ones(len(heads), device=self.owns.device)
        lengths = torch.stack([widened(head.classes).norm(dim=1) for head in heads]).detach()
        means = (lengths * self.owns).sum(dim=1) / self.owns.sum(dim=1)
        return means[0] / means.clamp(min=torch.finfo(means.dtype).tiny)
