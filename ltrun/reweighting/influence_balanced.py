"""Influence-balanced (IB) loss: weights that hold back the images with the most influence on the decision boundary."""

from typing import ClassVar

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Weigh
from ltrun.types import Outputs


def influence(logits: Tensor, labels: Tensor, feature_norms: Tensor) -> Tensor:
    """(B,): |p - y|_1 * |h|_1, the L1 norm of the loss's gradient with respect to the class weights. feature_norms: (B,), L1.

    |p - y|_1 is 2 (1 - p_y), because the other classes' probabilities sum to 1 - p_y.
    """
    log_p = torch.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    return -2 * torch.expm1(log_p) * feature_norms


class InfluenceBalanced(Weigh):
    """IB loss: weights a row by class_weights * alpha / (influence + epsilon), through which gradients flow; divides by B.

    The authors train with plain cross-entropy for half of the epochs, then with this loss at a hundredth of the learning rate:
    Deferred from 0.5 on, and schedule=influence_balanced. Their class weights are inverse frequency; a Focal among the
    class_weights gives their IB-focal loss. alpha = 1000 is from their training script (their class's default is 10000). With
    several experts the features are the concatenation of theirs.

    Park et al., 2021, arXiv 2110.02444.
    """

    mean = "batch"
    reads: ClassVar[frozenset[str]] = frozenset({"logits", "features"})

    def __init__(self, class_weights: Weigh, alpha: float = 1000.0, epsilon: float = 1e-3):
        super().__init__()
        if alpha <= 0:
            raise ConfigError(f"alpha must be above 0, got {alpha}")
        if epsilon <= 0:
            raise ConfigError(f"epsilon must be above 0, got {epsilon}")
        self.class_weights, self.alpha, self.epsilon = class_weights, alpha, epsilon

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        feature_norms = outputs.need("features").abs().sum(dim=1)
        balance = self.alpha / (influence(logits, labels, feature_norms) + self.epsilon)
        return self.class_weights(logits, labels, outputs) * balance
