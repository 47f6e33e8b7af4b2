"""DiVE: distillation of virtual examples from a balanced teacher."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.parts import Term
from ltrun.transfer.divergence import check_temperature, divergence
from ltrun.types import Outputs, Streams


def dive(student: Tensor, teacher: Tensor, base: Tensor, temperature: float, power: float, alpha: float) -> Tensor:
    """A scalar: alpha * T ** 2 * the mean divergence of the student from the flattened teacher + (1 - alpha) * base.

    student, teacher: (B, C) logits. base: a scalar, the re-balancing loss.
    """
    return alpha * temperature**2 * divergence(teacher, student, temperature, power).mean() + (1 - alpha) * base


class DiVE(Term):
    """DiVE: the teacher's prediction for an image counts as virtual examples of all classes, from which the student learns.

    The loss is alpha * T ** 2 * KL(p || softmax(student / T)) + (1 - alpha) * the run's classification loss, means over the
    batch; p is the teacher's softmax(teacher / T), raised to `power` and normalised. A power below 1 flattens p, so that tail
    classes get more virtual examples. The paper's teacher and classification loss are balanced softmax; the defaults are those
    of Bag of Tricks for CIFAR-LT. The teacher sees the same augmented, and perhaps mixed, images.

    He et al., 2021, arXiv 2103.15042.
    """

    teachers = ("teacher",)

    def __init__(self, temperature: float = 2.0, power: float = 0.5, alpha: float = 0.5, *, classify: Classification):
        super().__init__()
        check_temperature(temperature)
        if not 0 < power <= 1:
            raise ConfigError(f"power must be above 0 and at most 1, got {power}")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha must lie between 0 and 1, got {alpha}")
        self.temperature, self.power, self.alpha, self.classify = temperature, power, alpha, classify

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        student, teacher = outputs["main"].need("logits"), outputs["teacher"].need("logits")
        base = self.classify(outputs, streams)
        return dive(student, teacher, base, self.temperature, self.power, self.alpha)
