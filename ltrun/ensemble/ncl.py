"""NCL's and NCL++'s losses: several networks learn from labels and from each other, on all classes and on the hardest ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.targets import one_label
from ltrun.types import ClassStats, Outputs, Streams, as_rarest, fraction_of

EPSILON = 1e-9  # added to the probabilities of the network that learns, as in the authors' code

Base = Callable[[Tensor], Tensor]


def hardest(raw: Tensor, labels: Tensor, number: int) -> Tensor:
    """(B, C): 1 for the labels (B, M) of a row and its largest other raw logits (B, C), `number` classes in all, else 0."""
    number = min(max(number, labels.shape[1]), raw.shape[1])
    classes = raw.detach().scatter(1, labels, torch.inf).topk(number, dim=1).indices
    return torch.zeros_like(raw, requires_grad=False).scatter(1, classes, 1.0)


def mutual(members: Tensor, weight: Tensor | None = None) -> Tensor:
    """A scalar: sum of KL(softmax(j) || softmax(i)) over ordered pairs of members (V, B, C), averaged over the batch.

    Both sides of a pair get gradient. The logarithm of i is of its probability + 1e-9. weight: (B, C) of the classes'
    summands, which are those of probabilities over all classes.
    """
    logs = members.log_softmax(dim=2)
    shares = logs.exp()
    learner = (shares + EPSILON).log()
    gaps = shares * ((len(members) - 1) * logs + learner - learner.sum(dim=0))  # to all others, itself taken out
    return (gaps if weight is None else gaps * weight).sum() / members.shape[1]


def ncl(balanced: Tensor, mask: Tensor, base: Base, hard: float, distillation: float, hard_distillation: float) -> Tensor:
    """A scalar: losses and mutual distillation of networks (E, B, C), and the same of logits that are 0 outside a mask (B, C).

    base: logits (B, C) -> scalar, summed over networks; `hard` weighs it for masked logits. A divergence is divided by E - 1.
    """
    masked, others = balanced * mask, max(len(balanced) - 1, 1)
    classified = torch.stack([base(logits) for logits in balanced]).sum()
    told_apart = torch.stack([base(logits) for logits in masked]).sum()
    learnt = distillation * mutual(balanced) + hard_distillation * mutual(masked)
    return classified + hard * told_apart + learnt / others


def ncl_plus(balanced: Tensor, masks: Tensor, bases: Sequence[Base], hard: float, distillation: float) -> Tensor:
    """A scalar for A views of the same images: losses, distillation between a network's views, and between networks.

    balanced: (A, E, B, C). masks: (A, B, C), of which the first serves all views of a network. bases: of each view, logits
    (B, C) -> scalar; their mean over views is summed over networks. A divergence counts the classes of the mask twice.
    """
    rows = [
        torch.stack([base(logits) + hard * base(logits * mask) for logits in networks]).sum()
        for networks, mask, base in zip(balanced, masks, bases, strict=True)
    ]
    within = torch.stack([_paired(views, masks[0]) for views in balanced.unbind(1)]).sum()
    between = _paired(balanced.transpose(0, 1).flatten(1, 2), masks.flatten(0, 1))
    return torch.stack(rows).mean() + distillation * (within + between)


def _paired(members: Tensor, mask: Tensor) -> Tensor:
    """A scalar: the mean over pairs of both divergences of a pair, on all classes and on those of the mask."""
    pairs = len(members) * (len(members) - 1) / 2
    return mutual(members, 1 + mask) / max(pairs, 1)


class NCL(Term):
    """Nested collaborative learning: networks learn from the labels and from each other's predictions, balanced and hard ones.

    Logits are shifted by the log of the class counts; the run's classification loss of each network is added up, `hard` times
    once more for logits that are 0, not minus infinity, outside the hard classes: the label and the largest other logits of
    network 0, before the shift, `hard_share` of all classes. distillation, hard_distillation: weights of the divergence between
    the networks on either kind of logits; no side of it is detached. The mean of the plain logits predicts. All networks see
    the same images, as in the authors' code. The MoCo term, which its file for CIFAR leaves out, is left out.

    Li et al., 2022, arXiv 2203.15359.
    """

    reads = frozenset({"experts"})
    balances = True
    shift: Tensor

    def __init__(
        self,
        hard_share: float = 0.3,
        hard: float = 1.0,
        distillation: float = 0.6,
        hard_distillation: float = 0.6,
        *,
        stats: ClassStats,
        classify: Classification,
    ):
        super().__init__()
        check_weights(hard=hard, distillation=distillation, hard_distillation=hard_distillation)
        self.number, self.classify = number_of(hard_share, stats), classify
        self.hard, self.distillation, self.hard_distillation = hard, distillation, hard_distillation
        self.register_buffer("shift", as_rarest(stats.counts).double().log().float(), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        experts = output.need("experts")
        mask = hardest(experts[0], targets.index, self.number)
        base = partial(self.classify.loss, targets=targets, outputs=output)
        return ncl(experts + self.shift, mask, base, self.hard, self.distillation, self.hard_distillation)


class NCLPlus(Term):
    """NCL++: networks learn from each other and each from its own predictions for four views of the images.

    As in NCL, logits are shifted by the log of the class counts, and losses are added up over networks, `hard` times once more
    on the hard classes. distillation: weight of the divergence between the views of a network, and between the networks; both
    are on all classes and, once more, on the hard ones, whose probabilities are of all classes. The views are the streams
    `main`, `second`, `third` and `fourth`, which have the run's augmentation; each has its own batch statistics, where the
    authors normalise all views together. A view's hard classes are of network 0's logits for it.

    Tan et al., 2023, arXiv 2306.16709.
    """

    streams = ("main", "second", "third", "fourth")
    reads = frozenset({"experts"})
    mixed = False
    balances = True
    shift: Tensor

    def __init__(
        self,
        hard_share: float = 0.3,
        hard: float = 1.0,
        distillation: float = 0.6,
        *,
        stats: ClassStats,
        classify: Classification,
    ):
        super().__init__()
        check_weights(hard=hard, distillation=distillation)
        self.number, self.classify = number_of(hard_share, stats), classify
        self.hard, self.distillation = hard, distillation
        self.register_buffer("shift", as_rarest(stats.counts).double().log().float(), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        views = torch.stack([outputs[name].need("experts") for name in self.streams])
        labels = [one_label(streams[name].targets) for name in self.streams]
        masks = torch.stack([hardest(view[0], of.index, self.number) for view, of in zip(views, labels, strict=True)])
        bases = [
            partial(self.classify.loss, targets=of, outputs=outputs[name])
            for name, of in zip(self.streams, labels, strict=True)
        ]
        return ncl_plus(views + self.shift, masks, bases, self.hard, self.distillation)


def number_of(hard_share: float, stats: ClassStats) -> int:
    """Returns the number of hard classes, at least 1. Raises ConfigError unless the share is above 0 and at most 1."""
    if not 0 < hard_share <= 1:
        raise ConfigError(f"hard_share must be above 0 and at most 1, got {hard_share}")
    return max(1, fraction_of(stats.num_classes, hard_share))


def check_weights(**weights: float) -> None:
    """Raises ConfigError for a negative weight of a summand."""
    for name, weight in weights.items():
        if weight < 0:
            raise ConfigError(f"{name} must be at least 0, got {weight}")
