"""GIST's classifier: class vectors with offsets that all classes share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Head, Part


def nearest_cosines(features: Tensor, classes: Tensor, offsets: Tensor) -> Tensor:
    """(B, C): the largest cosine between a feature and the S + 1 vectors w, w + d_1, ..., w + d_S of a class.

    features: (B, D). classes: (C, D). offsets: (S, D).
    """
    vectors = torch.cat([classes[:, None], classes[:, None] + offsets], 1)
    return (F.normalize(features, dim=1) @ F.normalize(vectors, dim=2).flatten(0, 1).T).unflatten(1, vectors.shape[:2]).amax(2)


class GISTHead(Head):
    """A classifier with one set of class vectors for class-balanced images, which predicts, and one for instance-sampled ones.

    logits = tau * the largest cosine to a class's vector or to one of its sums with the `shapes` offsets, which all classes
    share. The offsets get their gradient from the instance-sampled logits alone. tau is learnt for each set and starts at
    `scale`; the authors' start is one normal draw, which may be negative. The offsets start at a hundredth of the class
    vectors' length: at the authors' 0 five cosines are equal, the first of them is taken, and no offset ever learns.

    Liu et al., 2021, arXiv 2105.00131.
    """

    accepts = Part.accepts  # for transfer=gist
    provides = frozenset({"shapes"})

    def __init__(self, shapes: int = 4, scale: float = 16.0, *, features: int, num_classes: int):
        super().__init__()
        if shapes < 1:
            raise ConfigError(f"shapes must be at least 1, got {shapes}")
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        self.balanced, self.instance = (nn.Parameter(torch.randn(num_classes, features)) for _ in range(2))
        self.offsets = nn.Parameter(0.01 * torch.randn(shapes, features))
        self.tau_balanced, self.tau_instance = (nn.Parameter(torch.tensor(scale)) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        return self.tau_balanced * nearest_cosines(features, self.balanced, self.offsets.detach())

    def of_instances(self, features: Tensor) -> Tensor:
        """(B, C): the logits of instance-sampled images, whose gradient reaches the offsets."""
        return self.tau_instance * nearest_cosines(features, self.instance, self.offsets)

    @property
    def classes(self) -> Tensor:
        return self.balanced
