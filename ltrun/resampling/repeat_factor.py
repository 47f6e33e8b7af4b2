"""Repeat-factor sampling (RFS): images of rare classes several times per epoch, for one or several labels per image."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Sampler
from ltrun.types import Clock, MultiHot, Targets


def class_repeat_factors(frequency: Tensor, threshold: float, square_root: bool = True) -> Tensor:
    """(C,) float64: max(1, sqrt(threshold / f_c)), or without the root. frequency: (C,) share of images with the class."""
    ratio = threshold / frequency.double()
    return (ratio.sqrt() if square_root else ratio).clamp(min=1)


def repeat_factors(images: Tensor, classes: Tensor, num_images: int, threshold: float, square_root: bool = True) -> Tensor:
    """(num_images,) float64: the largest factor among an image's classes, 1 if it has none.

    images, classes: (P,) integers, the image and the class of each annotation; a class that is annotated several times in one
    image counts once. The input is pairs, because an (N, C) table would not fit in memory for thousands of classes.
    """
    pairs = torch.unique(classes * num_images + images)
    images, classes = pairs % num_images, pairs // num_images
    factors = class_repeat_factors(torch.bincount(classes).double() / num_images, threshold, square_root)
    ones = torch.ones(num_images, dtype=torch.float64, device=images.device)
    return ones.scatter_reduce_(0, images, factors[classes], "amax")


def multi_hot_repeat_factors(present: Tensor, threshold: float, square_root: bool = True) -> Tensor:
    """(N,) float64, as `repeat_factors` gives. present: (N, C), not 0 where an image has a class."""
    images, classes = present.nonzero(as_tuple=True)
    return repeat_factors(images, classes, len(present), threshold, square_root)


def label_repeat_factors(targets: Targets, threshold: float, square_root: bool = True) -> Tensor:
    """(N,) float64, as `repeat_factors` gives; an image has the classes of all its labels of weight above 0."""
    if isinstance(targets, MultiHot):
        return multi_hot_repeat_factors(targets.labels, threshold, square_root)
    images, columns = (targets.weight > 0).nonzero(as_tuple=True)
    return repeat_factors(images, targets.index[images, columns], len(targets), threshold, square_root)


class RepeatFactor(Sampler):
    """Repeats an image r = max(1, sqrt(threshold / f)) times per epoch, with f the share of images with its rarest class.

    The integer part of r is certain and the fraction is a probability, so the length of an epoch varies around sum r. Images of
    classes above the threshold appear once, other classes in proportion to the square root of their counts (square_root =
    False: equally often). If an image has several labels, the class with the largest factor decides; an image without labels
    appears once.

    threshold = null is 1 / C, the share of each class in balanced data. For LVIS's 1,230 classes this is about the published
    0.001; on CIFAR100-LT 0.001 would repeat only the rarest 15 classes, and on data sets of ten classes usually none.

    Gupta et al., 2019, arXiv 1908.03195.
    """

    accepts = BOTH
    balances = True

    def __init__(self, threshold: float | None = None, square_root: bool = True, *, num_classes: int):
        super().__init__()
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(f"threshold must be a share of the images, above 0 and at most 1, got {threshold}")
        self.threshold = 1 / num_classes if threshold is None else threshold
        self.square_root = square_root

    def draw(self, targets: Targets, clock: Clock, generator: torch.Generator) -> Tensor:
        device = generator.device
        factors = label_repeat_factors(targets.to(device), self.threshold, self.square_root)
        chance = torch.rand(len(factors), dtype=torch.float64, generator=generator, device=device)
        times = factors.floor().long() + (chance < factors.frac())
        rows = torch.arange(len(factors), device=device).repeat_interleave(times)
        return rows[torch.randperm(len(rows), generator=generator, device=device)]
