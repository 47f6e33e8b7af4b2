"""Balanced softmax: the class counts as a prior in the softmax of the loss."""

from torch import Tensor

from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, as_rarest


def log_counts(counts: Tensor) -> Tensor:
    """(C,) float64: log of each class's number of images; a class without images counts as the rarest class with images."""
    return as_rarest(counts).double().log()


class BalancedSoftmax(Adjust):
    """Balanced softmax: adds log n_c to the logits of the loss; the plain logits predict. Equals logit adjustment with tau = 1.

    Ren et al., 2020, arXiv 2007.10740.
    """

    balances = True
    log_counts: Tensor

    def __init__(self, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("log_counts", log_counts(stats.counts).float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + self.log_counts
