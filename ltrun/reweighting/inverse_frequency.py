"""Inverse-frequency re-weighting: class weights from the inverse of the class counts."""

from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Weigh
from ltrun.reweighting.effective_number import sum_to_num_classes
from ltrun.types import ClassStats, Outputs


def inverse_frequency_weights(counts: Tensor, exponent: float) -> Tensor:
    """(C,) float64, proportional to n_c ** -exponent, with sum C."""
    return sum_to_num_classes(counts.double() ** -exponent, counts)


class InverseFrequency(Weigh):
    """Inverse frequency: weights a row by n_c ** -exponent of its class: 1 is inverse frequency, 0.5 its square root.

    The weights sum to C, as in IB-Loss (Park et al., 2021, arXiv 2110.02444); cost-sensitive cross-entropy scales them to a
    largest weight of 1 (Zhang et al., 2021, BagofTricks-LT), which is the same loss, since both divide by the sum of the
    batch's weights.

    Huang et al., 2016, Learning Deep Representation for Imbalanced Classification, CVPR.
    """

    balances = True
    weights: Tensor

    def __init__(self, exponent: float = 1.0, *, stats: ClassStats):
        super().__init__()
        if exponent < 0:
            raise ConfigError(f"exponent must not be negative, which would favour the head, got {exponent}")
        weights = inverse_frequency_weights(stats.counts, exponent).float()
        if not (weights[stats.counts > 0] > 0).all():
            raise ConfigError(f"exponent must be smaller here, or the weights of large classes round to 0, got {exponent}")
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels]
