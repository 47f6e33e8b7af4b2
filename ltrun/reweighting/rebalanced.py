"""Re-balanced weighting (R-BCE): weights of the entries of rows with several labels, against repeated sampling."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Weigh
from ltrun.types import ClassStats, Outputs, as_rarest


def rebalanced_weights(labels: Tensor, counts: Tensor, alpha: float, beta: float, mu: float) -> Tensor:
    """(B, C): alpha + sigmoid(beta (P - mu)), with P_ij = (1 / n_j) / sum_k y_ik / n_k, and P = 0 in a row without labels.

    labels y: (B, C). counts n: (C,) floats, above 0.
    """
    repeated = (labels / counts).sum(dim=1, keepdim=True)
    share = torch.where(repeated > 0, 1 / counts / repeated.clamp(min=torch.finfo(labels.dtype).tiny), 0.0)
    return alpha + torch.sigmoid(beta * (share - mu))


class Rebalanced(Weigh):
    """Re-balanced weighting, R-BCE: alpha + sigmoid(beta (P - mu)) for class j of image i, of positive and negative terms.

    P is the chance to draw image i for class j over the chance to draw it for any of its labels k, where each class is drawn
    as often: (1 / n_j) / sum_k 1 / n_k. So it takes back what class-aware sampling repeats for the sake of other labels.
    alpha, beta and mu are the authors' values for VOC-LT; mu is 0.2 for COCO-LT. An image without labels has P = 0; mixed
    labels enter the sum by their share. The loss is the plain mean over images and classes.

    Wu et al., 2020, arXiv 2007.09654.
    """

    accepts = frozenset({MULTI_LABEL})
    counts: Tensor

    def __init__(self, alpha: float = 0.1, beta: float = 10.0, mu: float = 0.3, *, stats: ClassStats):
        super().__init__()
        if alpha < 0 or beta < 0:
            raise ConfigError(f"alpha and beta must not be negative, which would favour the head, got {alpha} and {beta}")
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.register_buffer("counts", as_rarest(stats.counts).float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return rebalanced_weights(labels, self.counts, self.alpha, self.beta, self.mu)
