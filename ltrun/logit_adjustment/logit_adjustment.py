"""Logit adjustment: the logarithm of the class prior, added to the logits of the loss."""

from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs


def log_prior(counts: Tensor, tau: float, eps: float = 1e-12) -> Tensor:
    """(C,) float64: log(prior ** tau + eps), finite for a class without images. Training adds it, post hoc subtracts it.

    eps is Google's, added after the power. LADE, PaCo and SADE take 1e-9 and BCL none: at tau = 1 that moves a class of one
    image in a hundred thousand by 1e-4.
    """
    return ((counts.double() / counts.sum()) ** tau + eps).log()


def adjustment(stats: ClassStats, tau: float) -> Tensor:
    """(C,) float32: the log prior of the training set. Raises ConfigError for a negative tau."""
    if tau < 0:
        raise ConfigError(f"tau must not be negative, which would favour the head, got {tau}")
    return log_prior(stats.counts, tau).float()


class LogitAdjustment(Adjust):
    """Adds tau * log prior to the logits of the loss; the plain logits are the prediction.

    Adding is what makes a rare class need a larger logit of its own; the subtraction of `posthoc=logit_adjustment` is for
    a network trained without. Some public code subtracts in training, which favours the head twice.

    Menon et al., 2021, arXiv 2007.07314.
    """

    balances = True
    adjustment: Tensor

    def __init__(self, tau: float = 1.0, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("adjustment", adjustment(stats, tau))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + self.adjustment
