"""RIDE's distillation: a small ensemble learns the prediction of a larger one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ltrun.parts import Term
from ltrun.transfer.divergence import check_temperature, divergence
from ltrun.types import Outputs, Streams


def distilled(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """A scalar: T ** 2 * KL(softmax(teacher / T) || softmax(student / T)), the mean over the batch. Logits: (B, C)."""
    return temperature**2 * divergence(teacher, student, temperature).mean()


class RIDEDistillation(Term):
    """RIDE's distillation, added to the loss of an ensemble: T ** 2 * KL from the teacher's mean logits to the student's.

    The authors' code adds both the RIDE loss and this divergence once for each of E experts, so its objective is E times ours:
    the same training at E times the learning rate with a weight decay divided by E, which optimizer=ride_distillation is for
    three experts. Their teacher for CIFAR-100 has six experts, the student three or four.

    Wang et al., 2021, arXiv 2010.01809.
    """

    teachers = ("teacher",)

    def __init__(self, temperature: float = 1.5):
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        return distilled(outputs["main"].need("logits"), outputs["teacher"].need("logits"), self.temperature)
