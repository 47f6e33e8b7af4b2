"""Adaptive class suppression: only classes that an image is mistaken for are discouraged by it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Criterion
from ltrun.reweighting.sigmoid import is_label, starting_logit, towards_truth
from ltrun.types import Outputs


def adaptive_class_suppression(logits: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """(B,): the sum of binary cross-entropies of the label and of the classes whose probability reaches the threshold."""
    counts = is_label(labels, logits.shape[1]) | (torch.sigmoid(logits) >= threshold)
    return -(F.logsigmoid(towards_truth(logits, labels)) * counts).sum(dim=1)


class AdaptiveClassSuppression(Criterion):
    """ACSL: a sum of binary cross-entropies; an image discourages only classes that it gives at least `threshold`.

    Needs no class counts: a tail class that is not confused with others is left alone. The authors fine-tune the classifier
    of a detector that was trained before; here it may train the whole network. Their draws of background samples have no
    counterpart in classification. initial_probability as in SigmoidFocal.

    Wang et al., 2021, arXiv 2104.00885.
    """

    def __init__(self, threshold: float = 0.7, initial_probability: float | None = None, *, num_classes: int):
        super().__init__()
        if not 0 < threshold < 1:
            raise ConfigError(f"threshold must be a probability between 0 and 1, got {threshold}")
        self.threshold, self.start = threshold, starting_logit(initial_probability, num_classes)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return adaptive_class_suppression(logits + self.start, labels, self.threshold)
