"""Adaptive class suppression (ACSL): an image suppresses only the classes that it is confused with."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Criterion
from ltrun.reweighting.sigmoid import is_label, starting_logit, towards_truth
from ltrun.types import Outputs


def adaptive_class_suppression(logits: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """(B,): the sum of binary cross-entropies over the label and the classes whose probability reaches the threshold."""
    counts = is_label(labels, logits.shape[1]) | (torch.sigmoid(logits) >= threshold)
    return -(F.logsigmoid(towards_truth(logits, labels)) * counts).sum(dim=1)


class AdaptiveClassSuppression(Criterion):
    """ACSL: a sum of binary cross-entropies; an image suppresses only classes with a probability of at least `threshold`.

    Needs no class counts: a tail class that is not confused with others is not suppressed. The authors fine-tune the classifier
    of a pretrained detector; here the loss may train the whole network. Their sampling of background has no counterpart in
    classification. initial_probability as in SigmoidFocal.

    Wang et al., 2021, arXiv 2104.00885.
    """

    def __init__(self, threshold: float = 0.7, initial_probability: float | None = None, *, num_classes: int):
        super().__init__()
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must be a probability between 0 and 1, got {threshold}")
        self.threshold, self.start = threshold, starting_logit(initial_probability, num_classes)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return adaptive_class_suppression(logits + self.start, labels, self.threshold)
