"""Manifold mixup: convex combinations of pairs of images, or of their maps after a layer, and of their labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ltrun.augmentation.mixup import beta_of, draw_share
from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import FeatureMixer
from ltrun.types import Batch, Streams


class ManifoldMixup(FeatureMixer):
    """Manifold mixup: mixes the images of a batch, or their maps after one of the layers, and their labels in the same shares.

    Each batch draws one of `points` uniformly and one share keep ~ Beta(alpha, alpha); the maps at the other points stay as
    they are. The partners are the batch in reverse, because rows come in random order; the authors draw a permutation. points:
    in the order of the network; 'inputs' is mixup. The default is the authors' set for CIFAR: the images and the first two
    residual layers. Bag of Tricks mixes at one place that its configuration names. alpha = 1 is its value; the authors' is 2.

    Verma et al., 2018, arXiv 1806.05236.
    """

    accepts = BOTH
    alpha: Tensor
    chosen: Tensor
    keep: Tensor

    def __init__(self, alpha: float = 1.0, points: Sequence[str] = ("inputs", "layer1", "layer2")):
        super().__init__()
        if not points or list(points) != sorted(set(points), key=lambda place: (place != "inputs", place == "features", place)):
            raise ConfigError(f"points must be different places, at least one, in the order of the network, got {list(points)}")
        self.points = tuple(points)
        self.register_buffer("alpha", beta_of(alpha), persistent=False)
        self.register_buffer("chosen", torch.zeros((), dtype=torch.int64))  # of the batch on its way
        self.register_buffer("keep", torch.ones(()))

    def forward(self, streams: Streams, point: str) -> tuple[dict[str, Batch], dict[str, Tensor]]:
        main = streams["main"]
        if point == self.points[0]:
            self.chosen.copy_(torch.randint(len(self.points), (), device=self.chosen.device))
            self.keep.copy_(draw_share(self.alpha))
        keep, maps, targets = self.keep.clone(), main.inputs, main.targets
        if point == self.points[0]:
            partners = targets.take(torch.arange(len(main) - 1, -1, -1, device=keep.device))
            main = main.replace(targets=targets.mix(partners, keep.expand(len(main))))
        mixed = torch.lerp(maps.flip(0), maps, keep.to(maps.dtype))
        return {**streams, "main": main.replace(inputs=torch.where(self.chosen == self.points.index(point), mixed, maps))}, {}
