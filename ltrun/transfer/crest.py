"""CReST: generations of networks, each of which labels the rarer classes of the unlabelled images for the next one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Mixer, Network, Sampler
from ltrun.targets import one_label
from ltrun.types import Batch, ClassStats, Clock, Labels, Streams, Targets, View

AT_ONCE = 500  # images that the previous network labels at a time


def rates(shares: Tensor, alpha: float) -> Tensor:
    """(C,) float64: the share of its predictions that each class keeps, 1 for the rarest class.

    (p_(C - 1 - k) / p_0) ** (1 / alpha) for the k-th most frequent class, with the shares p sorted, equal ones in label order.
    """
    order = shares.double().argsort(descending=True, stable=True)
    falling = shares.double()[order]
    kept = torch.empty_like(falling)
    kept[order] = (falling.flip(0) / falling[0]) ** (1 / alpha)
    return kept


def selected(confidence: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """(U,) boolean: the int(L_c * kept_c) most confident of the L_c images with label c; the first of equally confident ones.

    confidence: (U,). labels: (U,) int64. kept: (C,) float64.
    """
    order = confidence.argsort(descending=True, stable=True)
    order = order[labels[order].argsort(stable=True)]  # by class, and by confidence within a class
    lengths = torch.bincount(labels, minlength=len(kept))
    first = lengths.cumsum(0) - lengths
    place = torch.arange(len(labels), device=labels.device) - first[labels[order]]
    chosen = torch.empty_like(order, dtype=torch.bool)
    chosen[order] = place < (lengths * kept).long()[labels[order]]
    return chosen


class CReSTPool(Sampler):
    """Class-rebalancing selection: draws the unlabelled images that the previous generation's network labels best.

    When a stage begins, the network as the previous stage left it labels all unlabelled images without augmentation; class c
    keeps the `rates` share of its images, the most confident first: all of the rarest class, few of the most frequent. Every
    generation selects anew from all unlabelled images. The rates follow the labelled counts, whatever the shares of the
    unlabelled images, because they answer the network's bias towards the labelled head; the authors' code takes them from the
    ideal exponential profile. An epoch has each selected image once, in random order; image 0 if none is selected. alpha: 3
    in the authors' code; the larger, the more images of frequent classes.

    Wei et al., 2021, arXiv 2102.09559.
    """

    labels: Tensor
    chosen: Tensor
    share: Tensor
    kept: Tensor

    def __init__(
        self,
        alpha: float = 3.0,
        teacher: str = "previous",
        *,
        stats: ClassStats,
        unlabelled: int,
        teachers: Mapping[str, Network],
    ):
        super().__init__()
        if alpha <= 0:
            raise ConfigError(f"alpha must be above 0, got {alpha}")
        if teacher not in teachers:
            raise ConfigError(f"teacher '{teacher}' is not among the teachers of this stage; add it to its option")
        self.teacher, self.labelled = teacher, int(stats.counts.sum())
        self.register_buffer("kept", rates(stats.counts, alpha), persistent=False)
        self.register_buffer("labels", torch.zeros(unlabelled, dtype=torch.int64))
        self.register_buffer("chosen", torch.zeros(unlabelled, dtype=torch.bool))
        self.register_buffer("share", torch.zeros(()))  # of selected images in the enlarged labelled set

    def adapt(self, view: View) -> None:
        if view.clock.epoch:
            return
        confidence = torch.zeros(len(self.labels), dtype=torch.float32, device=self.labels.device)
        for rows in torch.arange(len(self.labels)).split(AT_ONCE):
            inputs = view.open(rows, split="unlabelled").inputs
            found = widened(view.predict(inputs, by=self.teacher).need("logits")).softmax(dim=1).max(dim=1)
            confidence[rows], self.labels[rows] = found.values.to(confidence), found.indices.to(self.labels)
        self.chosen.copy_(selected(confidence, self.labels, self.kept))
        number = self.chosen.sum()
        self.share.copy_(number / (self.labelled + number))

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        rows = self.chosen.cpu().nonzero()[:, 0]
        if not len(rows):
            return torch.zeros(1, dtype=torch.int64)
        return rows[torch.randperm(len(rows), generator=generator)]


class CReST(Mixer):
    """CReST's enlarged labelled set: images of stream `main` give way to selected unlabelled images and their pseudo-labels.

    Each image of `main` is replaced with the probability S / (N + S), N labelled and S selected images, which in expectation
    draws from both sets together; an epoch has N images, where the authors' has N + S. Class counts that losses use stay those
    of the labelled images. The batch keeps the row numbers of `main`, of which no unlabelled image has one. Mixers of the
    augmentation come first and leave selected images alone; an augmentation that depends on the class sees class 0 there.

    Wei et al., 2021, arXiv 2102.09559.
    """

    streams = ("main", "selected")

    def __init__(self, *, samplers: Mapping[str, Sampler]):
        super().__init__()
        self.pool = [cast(CReSTPool, samplers["selected"])]  # a list, because the stage saves the sampler and its buffers

    def forward(self, streams: Streams) -> dict[str, Batch]:
        main, other, (pool,) = streams["main"], streams["selected"], self.pool
        replaced = torch.rand(len(main), device=main.inputs.device) < pool.share
        inputs = torch.where(replaced.view(-1, *[1] * (main.inputs.dim() - 1)), other.inputs, main.inputs)
        own = one_label(main.targets)
        index = torch.where(replaced[:, None], pool.labels[other.rows][:, None], own.index)
        mixed = main.replace(inputs=inputs, targets=Labels(index, own.weight))
        return {name: batch for name, batch in streams.items() if name != "selected"} | {"main": mixed}
