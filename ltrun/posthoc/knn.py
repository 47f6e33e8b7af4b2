"""Nearest neighbours (kNN): classes scored by the votes of the most similar training images."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Evidence, PostHoc
from ltrun.types import Outputs


def votes(similarity: Tensor, labels: Tensor, weights: Tensor, k: int, temperature: float) -> Tensor:
    """(B, C): the share of each class in the votes exp(similarity / temperature) * weight of the k most similar images.

    similarity: (B, N) cosines to the training images. labels: (N,). weights: (C,) of a class's votes.
    """
    nearest, rows = similarity.topk(min(k, similarity.shape[1]), dim=1)
    given = labels[rows]
    strength = ((nearest - nearest[:, :1]) / temperature).exp() * weights[given]
    summed = strength.new_zeros(len(similarity), len(weights)).scatter_add(1, given, strength)
    return summed / summed.sum(dim=1, keepdim=True)


class KNN(PostHoc):
    """Weighted nearest neighbours in the features of the training images; the classifier is not used.

    The k most similar images vote for their class with exp(cosine / temperature); the score is the log of a class's share.
    balanced: divides votes by the number of training images of their class, without which classes with fewer than k images
    can hardly win. Keeps the features of all training images, N x D numbers.

    Wu et al., 2018, arXiv 1805.01978, without the division, which is ltrun's.
    """

    sees = frozenset({"train"})
    reads = frozenset({"features"})
    known: Tensor
    labels: Tensor
    weights: Tensor

    def __init__(self, k: int = 20, temperature: float = 0.07, balanced: bool = False, *, num_classes: int):
        super().__init__()
        if k < 1 or temperature <= 0:
            raise ConfigError(f"k must be at least 1 and temperature above 0, got {k} and {temperature}")
        self.k, self.temperature, self.balanced, self.num_classes = k, temperature, balanced, num_classes
        self.register_buffer("known", torch.empty(0, 0))
        self.register_buffer("labels", torch.empty(0, dtype=torch.int64))
        self.register_buffer("weights", torch.empty(0))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        features = splits["train"].outputs().need("features")
        self.known, self.labels = F.normalize(features.float(), dim=1), splits["train"].labels.to(features.device)
        counts = torch.bincount(self.labels, minlength=self.num_classes).clamp(min=1).float()
        self.weights = 1 / counts if self.balanced else torch.ones_like(counts)

    def forward(self, outputs: Outputs) -> Tensor:
        features = F.normalize(outputs.need("features").float(), dim=1)
        shares = votes(features @ self.known.T, self.labels, self.weights, self.k, self.temperature)
        return shares.clamp(min=torch.finfo(shares.dtype).tiny).log()
