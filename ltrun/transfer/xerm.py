"""xERM: a student of a balanced and an imbalanced teacher at once, weighed for each image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.targets import one_label
from ltrun.types import ClassStats, Labels, Outputs, Streams, as_rarest


def row_losses(logits: Tensor, targets: Labels) -> Tensor:
    """(B,): the cross-entropy of each row of logits (B, C); of mixed labels, the sum by their shares."""
    columns = [
        column.share * F.cross_entropy(column.logits, column.labels, reduction="none") for column in targets.columns(logits)
    ]
    return torch.stack(columns).sum(dim=0)


def balanced_weight(imbalanced: Tensor, balanced: Tensor, targets: Labels, gamma: float) -> Tensor:
    """(B,): b / (a + b + 1e-5), the weight of the balanced teacher, with a and b the powers gamma of both cross-entropies.

    imbalanced, balanced: (B, C) logits of the teacher without and with its prior taken out.
    """
    a, b = row_losses(imbalanced, targets) ** gamma, row_losses(balanced, targets) ** gamma
    return b / (a + b + 1e-5)


def xerm(student: Tensor, balanced: Tensor, targets: Labels, weight: Tensor) -> Tensor:
    """A scalar: the mean of (1 - w) * CE(student, labels) + w * CE(student, softmax(balanced)). logits: (B, C); w: (B,)."""
    from_teacher = F.cross_entropy(student, balanced.softmax(dim=1), reduction="none")
    return ((1 - weight) * row_losses(student, targets) + weight * from_teacher).mean()


class XERM(Term):
    """Cross-domain empirical risk minimisation: the student learns labels and a balanced teacher, the run's whole loss.

    The teacher is trained without balancing. Its logits z judge an image as the long-tailed world does, z - log(prior) as a
    balanced world does. The student's loss of an image is (1 - w) * cross-entropy with the label + w * cross-entropy with
    softmax(z - log(prior)), and w = b / (a + b + 1e-5) compares the two judgements' cross-entropies with the label, raised to
    gamma: a of z, b of z - log(prior). So w is large where the balanced judgement is the worse one, as in the authors' code.
    The student's own logits predict. Test classes count as equally frequent. gamma = 1.5 is the authors' value for CIFAR-100, 2
    for ImageNet-LT. Their variants with TDE and with RIDE as teachers are left out.

    Zhu et al., 2022, arXiv 2112.14380.
    """

    teachers = ("teacher",)
    balances = True
    log_prior: Tensor

    def __init__(self, gamma: float = 1.5, *, stats: ClassStats):
        super().__init__()
        if not 0 <= gamma <= 10:
            raise ConfigError(f"gamma must lie between 0 and 10, got {gamma}")
        self.gamma = gamma
        prior = as_rarest(stats.counts).double() / stats.counts.sum()
        self.register_buffer("log_prior", prior.log().float(), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        student, targets = widened(outputs["main"].need("logits")), one_label(streams["main"].targets)
        with torch.no_grad():
            imbalanced = widened(outputs["teacher"].need("logits"))
            balanced = imbalanced - self.log_prior
            weight = balanced_weight(imbalanced, balanced, targets, self.gamma)
        return xerm(student, balanced, targets, weight)
