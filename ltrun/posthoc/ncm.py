"""Nearest class mean (NCM): classes scored by the distance to their mean training feature."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.parts import Evidence, PostHoc
from ltrun.results.spans import spans
from ltrun.types import Outputs


class NCM(PostHoc):
    """Nearest class mean: scores a class by the distance to its mean training feature; the classifier is not used.

    Features are shifted by the mean of all training features and scaled to unit length; class means are means of these
    features. This is the 'cl2n' form, the default of the authors' code; `centre=False` is its 'l2n' form, and `unit=False` in
    addition its 'un' form, whose features stay as they are. The score is minus the squared distance ('l2', the code's default)
    or the cosine, for which this part scales class means to unit length and the authors' code does not. A class without images
    is never predicted.

    Kang et al., 2020, arXiv 1910.09217.
    """

    sees = frozenset({"train"})
    reads = frozenset({"features"})
    shift: Tensor
    means: Tensor

    def __init__(self, distance: Literal["l2", "cosine"] = "l2", centre: bool = True, unit: bool = True, *, num_classes: int):
        super().__init__()
        self.distance, self.centre, self.unit, self.num_classes = distance, centre, unit, num_classes
        self.register_buffer("shift", torch.empty(0))
        self.register_buffer("means", torch.empty(0, 0))

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        features = splits["train"].outputs().need("features")
        self.shift = features.mean(0) if self.centre else features.new_zeros(features.shape[1])
        labels = splits["train"].labels.to(features.device)
        sums = features.new_zeros(self.num_classes, features.shape[1])
        for some in spans(features.shape):  # the features of all images may lie in a file, and not fit into memory
            sums.index_add_(0, labels[some], self._shaped(features[some]))
        self.means = sums / torch.bincount(labels, minlength=self.num_classes)[:, None]  # nan for a class without images

    def _shaped(self, features: Tensor) -> Tensor:
        shifted = features - self.shift
        return F.normalize(shifted, dim=1) if self.unit else shifted

    def forward(self, outputs: Outputs) -> Tensor:
        features = self._shaped(outputs.need("features"))
        if self.distance == "cosine":
            unit = features if self.unit else F.normalize(features, dim=1)
            scores = unit @ F.normalize(self.means, dim=1).T
        else:  # -|f - m|^2 = 2 f.m - m.m - f.f, and f.f = 1 for f of length 1
            length: Tensor | int = 1 if self.unit else features.square().sum(1, keepdim=True)
            scores = 2 * features @ self.means.T - self.means.square().sum(1) - length
        return scores.nan_to_num(nan=torch.finfo(scores.dtype).min)
