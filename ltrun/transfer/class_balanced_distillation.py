"""Class-balanced distillation (CBD): features of teachers of the natural distribution, learnt from balanced samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.numerics import in_float32, widened
from ltrun.parts import Term
from ltrun.types import Outputs, Streams


def cosine_distance(student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
    """A scalar: the mean over the batch of 1 - cos(student, u), u the unit features of K teachers side by side.

    student: (B, K * D). teachers: K tensors (B, D), without gradient.
    """
    together = torch.cat([F.normalize(features.detach(), dim=1) for features in teachers], dim=1)
    return (1 - F.cosine_similarity(student, together, dim=1)).mean()


class ClassBalancedDistillation(Term):
    """CBD: (1 - alpha) * the run's classification loss + alpha * beta * the cosine distance of features from the teachers'.

    Teachers see the natural distribution, the student class-balanced samples (resampling=class_aware). names: of the teachers,
    K networks that differ by their seed. With one teacher the student's features are compared with the teacher's; with more,
    a linear map of the student's features, thrown away after training, with the unit features of all teachers side by side.
    alpha = 0.8 and beta = 100 are the values of a re-implementation for CIFAR-100-LT with an imbalance of 100, whose features
    have 128 dimensions; ours have the network's. Teachers have features as long as the student's.

    Iscen et al., 2021, arXiv 2104.05279.
    """

    reads = frozenset({"logits", "features"})

    def __init__(
        self,
        alpha: float = 0.8,
        beta: float = 100.0,
        names: Sequence[str] = ("first", "second", "third"),
        *,
        features: int,
        classify: Classification,
    ):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha must lie between 0 and 1, got {alpha}")
        if beta < 0:
            raise ConfigError(f"beta must not be negative, got {beta}")
        if not names:
            raise ConfigError("names must hold at least one teacher, got []")
        self.alpha, self.beta, self.teachers, self.classify = alpha, beta, tuple(names), classify
        self.together = nn.Linear(features, len(names) * features) if len(names) > 1 else nn.Identity()

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        student = in_float32(self.together, outputs["main"].need("features"))
        teachers = [widened(outputs[name].need("features")) for name in self.teachers]
        length = sum(features.shape[1] for features in teachers)
        if length != student.shape[1]:
            raise ConfigError(
                f"names: the teachers' features have {length} numbers together, where {student.shape[1]} are needed"
            )
        distance = cosine_distance(student, teachers)
        return (1 - self.alpha) * self.classify(outputs, streams) + self.alpha * self.beta * distance
