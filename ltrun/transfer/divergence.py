"""Divergence of a student from a teacher: Kullback-Leibler divergence of softened predictions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.numerics import widened


def divergence(teacher: Tensor, student: Tensor, temperature: float, power: float = 1.0) -> Tensor:
    """(B,): KL(p || softmax(student / T)) of each row, with p = softmax(teacher / T) ** power, normalised. Logits: (B, C).

    p is softmax(power * teacher / T). There is no factor T ** 2, which some methods add. The teacher gets no gradient.
    """
    target = (widened(teacher.detach()) * power / temperature).log_softmax(dim=1)
    return F.kl_div((widened(student) / temperature).log_softmax(dim=1), target, reduction="none", log_target=True).sum(dim=1)


def check_temperature(temperature: float) -> None:
    """Raises ConfigError unless the temperature of a divergence is above 0, by a margin that float32 can hold."""
    if temperature < 1e-3:
        raise ConfigError(f"temperature must be at least 0.001, got {temperature}")
