"""Class-difficulty-balanced (CDB) loss: class weights from the error rate of each class, not from its size."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Weigh
from ltrun.reweighting.effective_number import sum_to_num_classes
from ltrun.targets import one_label
from ltrun.types import ClassStats, Outputs, Streams, View

EPSILON = 0.01  # added to the smallest accuracy, as in the authors' code


def difficulty_weights(accuracy: Tensor, tau: float | None) -> Tensor:
    """(C,): (1 - accuracy) ** tau. None: tau = sigmoid(max accuracy / (min accuracy + 0.01)), from 0.73 to 1.

    A class without errors counts as one with 1 % of errors, so that its weight is not 0.
    """
    exponent = torch.sigmoid(accuracy.max() / (accuracy.min() + EPSILON)) if tau is None else tau
    difficulty = (1 - accuracy).clamp(min=EPSILON)
    weights, relative = difficulty**exponent, (difficulty / difficulty.max()) ** exponent
    return torch.where(weights.sum() > 0, weights, relative)  # with a large tau all powers underflow


class ClassDifficultyBalanced(Weigh):
    """CDB loss: weights a row by the difficulty of its class, 1 - accuracy in the previous epoch, to the power tau.

    The weights sum to C and are 1 in the first epoch; the loss is divided by B. The accuracy is measured on the epoch's
    training batches; the authors hold out a balanced validation set for it, which long-tailed data rarely afford. A class that
    does not appear in an epoch keeps its difficulty. tau: null follows the spread of the accuracies, as in the authors' CIFAR
    code; the formula of their paper, 2 sigmoid(max / min - 1), from 1 to 2, makes weights from training accuracies oscillate
    between epochs.

    Sinha et al., 2020, arXiv 2010.01824.
    """

    mean = "batch"
    acts_from = 1
    counts: Tensor
    correct: Tensor
    seen: Tensor
    accuracy: Tensor
    weights: Tensor

    def __init__(self, tau: float | None = None, *, stats: ClassStats):
        super().__init__()
        if tau is not None and tau < 0:
            raise ConfigError(f"tau must be null or at least 0, because a negative tau favours easy classes, got {tau}")
        self.tau = tau
        self.register_buffer("counts", stats.counts.clone(), persistent=False)
        for name in ("correct", "seen", "accuracy"):
            self.register_buffer(name, torch.zeros(stats.num_classes))
        self.register_buffer("weights", torch.ones(stats.num_classes))

    def adapt(self, view: View) -> None:
        shown = self.seen > 0
        if shown.any():
            self.accuracy.copy_(torch.where(shown, self.correct / self.seen.clamp(min=1e-6), self.accuracy))
            weights = torch.zeros_like(self.weights)
            weights[self.counts > 0] = difficulty_weights(self.accuracy[self.counts > 0], self.tau)
            self.weights.copy_(sum_to_num_classes(weights, self.counts))
        self.correct.zero_()
        self.seen.zero_()

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        logits, targets = outputs["main"].need("logits"), one_label(streams["main"].targets)
        predicted = logits.argmax(dim=1)
        for labels, share in zip(targets.index.unbind(1), targets.weight.unbind(1), strict=True):
            self.seen.index_add_(0, labels, share)
            self.correct.index_add_(0, labels, share * (predicted == labels))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels]
