"""Binary cross-entropies of C sigmoids, and the sigmoid focal loss."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH
from ltrun.parts import Criterion
from ltrun.types import Outputs


def starting_logit(initial_probability: float | None, num_classes: int) -> float:
    """The logit of every class's initial probability, 1 / C for None; callers add it to the network's logits."""
    if initial_probability is not None and not 0 < initial_probability < 1:
        raise ConfigError(f"initial_probability must lie between 0 and 1, or be null for 1 / C, got {initial_probability}")
    start = 1 / max(2, num_classes) if initial_probability is None else initial_probability
    return math.log(start / (1 - start))


def starting_logits(initial_probability: float | None, num_classes: int) -> tuple[float, float]:
    """`starting_logit` of one label per row, and of several, where None adds nothing: their classes are predicted where the
    plain logit is above 0, and a constant of the loss alone would move that limit."""
    start = starting_logit(initial_probability, num_classes)
    return start, 0.0 if initial_probability is None else start


def is_label(labels: Tensor, num_classes: int) -> Tensor:
    """(B, C) boolean: True at the label of each row."""
    return labels[:, None] == torch.arange(num_classes, device=labels.device)


def binary_cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, C): -y log p - (1 - y) log(1 - p), p the sigmoid of the logit. logits, labels y: (B, C)."""
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")


def focal_factors(losses: Tensor, gamma: float) -> Tensor:
    """(1 - exp(-loss)) ** gamma: of a cross-entropy, exp(-loss) is the probability of the right answer."""
    # Where p rounds to 1, the slope of x ** gamma is infinite for gamma below 1; the clamp makes it 0 there.
    return (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).tiny) ** gamma


def towards_truth(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, C): logits of the right answers, negated except at the label. -logsigmoid of them is the binary cross-entropy."""
    return torch.where(is_label(labels, logits.shape[1]), logits, -logits)


def sigmoid_focal(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """(B,): the sum over C classes of -(1 - p) ** gamma * log(p), p the sigmoid probability of the right answer."""
    truth = towards_truth(logits, labels)
    return -(F.logsigmoid(truth) * (gamma * F.logsigmoid(-truth)).exp()).sum(dim=1)


class SigmoidFocal(Criterion):
    """Sigmoid focal loss: the sum over classes of binary cross-entropies, each times (1 - p) ** gamma; gamma = 0 is plain.

    The form of Cui et al.'s class-balanced loss, without Lin et al.'s weight alpha of the positive class; gamma = 1 is from
    Cui et al.'s script. They initialise the classifier's bias, without weight decay, at the logit of 1 / C; otherwise the C - 1
    wrong answers dominate the first steps. Here that constant is added to the logits of any head, which changes no ranking.
    initial_probability: null is 1 / C, 0.5 adds nothing. balance: a constant factor, 2 in the distribution-balanced loss.

    Of several labels per row, each class has a loss of its own, null adds nothing, and the p of a mixed label is exp(-BCE), as
    in Wu et al.'s and VideoLT's code.

    Lin et al., 2017, arXiv 1708.02002; Cui et al., 2019, arXiv 1901.05555; Wu et al., 2020, arXiv 2007.09654.
    """

    accepts = BOTH

    def __init__(self, gamma: float = 1.0, initial_probability: float | None = None, balance: float = 1.0, *, num_classes: int):
        super().__init__()
        if balance <= 0:
            raise ConfigError(f"balance must be above 0, got {balance}")
        if gamma < 0:
            raise ConfigError(f"gamma must not be negative, which would favour easy images, got {gamma}")
        self.gamma, self.balance = gamma, balance
        self.start = starting_logits(initial_probability, num_classes)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        logits = logits + self.start[labels.ndim - 1]
        if labels.ndim == 2:
            losses = binary_cross_entropies(logits, labels)
            return self.balance * (focal_factors(losses, self.gamma) * losses)
        return self.balance * sigmoid_focal(logits, labels, self.gamma)
