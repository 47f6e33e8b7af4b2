"""Equalization losses (EQL, SEQL): images of other classes do not suppress rare classes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Adjust, Criterion
from ltrun.reweighting.sigmoid import binary_cross_entropies, is_label, starting_logits, towards_truth
from ltrun.types import ClassStats, Outputs


def rare_classes(counts: Tensor, threshold: float | None, images: int | None = None) -> Tensor:
    """(C,) boolean: classes whose share of the images is below the threshold, or below 1 / (2 C) for None.

    images: N, where images have several labels; None for the sum of the counts.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must be a share of the images, from 0 to 1, or null for 1 / (2 C), got {threshold}")
    share = counts.double() / (counts.sum() if images is None else images)
    return share < (1 / (2 * len(counts)) if threshold is None else threshold)


def softmax_equalization(logits: Tensor, labels: Tensor, ignored: Tensor) -> Tensor:
    """(B, C): logits with -infinity where `ignored` (B, C), except at the label, so the class leaves the row's softmax."""
    return logits.masked_fill(ignored & ~is_label(labels, logits.shape[1]), -torch.inf)


def sigmoid_equalization(logits: Tensor, labels: Tensor, ignored: Tensor) -> Tensor:
    """(B,): the sum of binary cross-entropies over the label and the classes that are not `ignored` (B, C)."""
    kept = ~ignored | is_label(labels, logits.shape[1])
    return -(F.logsigmoid(towards_truth(logits, labels)) * kept).sum(dim=1)


def equalization_of_several(logits: Tensor, labels: Tensor, ignored: Tensor) -> Tensor:
    """(B, C): binary cross-entropies of several labels per row, without the negative terms of the classes that are `ignored`
    (B, C); of a mixed label y, a share y is left. A row without labels keeps all of them, as the authors' background does."""
    spared = ignored & (labels > 0).any(dim=1, keepdim=True)
    return binary_cross_entropies(logits, labels) * torch.where(spared, labels, 1.0)


class SoftmaxEqualization(Adjust):
    """Softmax equalization loss, SEQL: leaves each rare class out of each image's softmax with probability gamma.

    The image's own class always stays. gamma and the threshold of rarity, 0.005 of the images for 100 classes, are the values
    of BagofTricks-LT. threshold = null is half of an equal share, 1 / (2 C), which is 0.005 for 100 classes.

    Tan et al., 2020, arXiv 2003.05176.
    """

    balances = True
    rare: Tensor

    def __init__(self, gamma: float = 0.9, threshold: float | None = None, *, stats: ClassStats):
        super().__init__()
        self.gamma = probability(gamma)
        self.register_buffer("rare", rare_classes(stats.counts, threshold))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return softmax_equalization(logits, labels, self.rare & drawn(logits, self.gamma))


class SigmoidEqualization(Criterion):
    """Equalization loss, EQL: binary cross-entropies; each image suppresses each rare class with probability 1 - gamma.

    gamma is 1 in the authors' detectors, where background still suppresses rare classes. Without background nothing would, and
    every image would be assigned to a rare class; therefore this part draws the rare classes that it spares, as the authors'
    softmax form does. Their threshold on LVIS is 0.00177, the share of images that contain a class; null is half of an equal
    share. initial_probability as in SigmoidFocal; theirs is 0.001. rare_up_to: a number of images, in place of the threshold; a
    class with as many is still rare. Of several labels per row, each class has a loss of its own; in VideoLT's code (Zhang et
    al., 2021, arXiv 2105.02668) rare is a class of at most 100 videos and gamma is 0.00176, which is nearly plain.

    Tan et al., 2020, arXiv 2003.05176.
    """

    accepts = BOTH
    balances = True
    rare: Tensor

    def __init__(
        self,
        gamma: float = 0.9,
        threshold: float | None = None,
        initial_probability: float | None = None,
        rare_up_to: int | None = None,
        *,
        stats: ClassStats,
    ):
        super().__init__()
        if rare_up_to is not None and (threshold is not None or rare_up_to < 0):
            raise ConfigError(f"rare_up_to must not be negative, and needs threshold=null, got {rare_up_to} and {threshold}")
        self.gamma, self.start = probability(gamma), starting_logits(initial_probability, stats.num_classes)
        rare = rare_classes(stats.counts, threshold, stats.images)
        self.register_buffer("rare", rare if rare_up_to is None else stats.counts <= rare_up_to)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        losses = sigmoid_equalization if labels.ndim == 1 else equalization_of_several
        return losses(logits + self.start[labels.ndim - 1], labels, self.rare & drawn(logits, self.gamma))


def probability(gamma: float) -> float:
    if not 0 <= gamma <= 1:
        raise ConfigError(f"gamma must be a probability, from 0 to 1, got {gamma}")
    return gamma


def drawn(logits: Tensor, gamma: float) -> Tensor:
    """(B, C) boolean, each True with probability gamma."""
    return torch.rand(logits.shape, device=logits.device) < gamma
