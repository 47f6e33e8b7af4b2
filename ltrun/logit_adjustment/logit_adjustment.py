"""Logit adjustment: the logarithm of the class prior, added to the logits of the loss."""

from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import held
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, as_rarest


def log_prior(counts: Tensor, tau: float, eps: float = 0.0) -> Tensor:
    """(C,) float64: tau * log prior; a class without images has the prior of the rarest class with images.

    Training adds it, post-hoc adjustment subtracts it. eps: above 0 gives log(prior ** tau + eps), as in published code: 1e-12
    in Google's, 1e-9 in LADE, PaCo and SADE. At tau = 1 eps moves a class with a prior of 1e-5 by 1e-7 and 1e-4 respectively;
    at larger tau it outweighs the prior of rare classes, which are then no longer adjusted: at tau = 3 and eps = 1e-12,
    classes with a prior below 1e-4.
    """
    prior = as_rarest(counts).double() / counts.sum()
    return (prior**tau + eps).log() if eps else tau * prior.log()


def adjustment(stats: ClassStats, tau: float) -> Tensor:
    """(C,) float32: tau * log prior of the training set. Raises ConfigError for a negative tau."""
    if tau < 0:
        raise ConfigError(f"tau must not be negative, which would favour the head, got {tau}")
    return held(log_prior(stats.counts, tau), "tau", tau)


class LogitAdjustment(Adjust):
    """Logit-adjusted loss: adds tau * log prior to the logits of the loss; the plain logits predict.

    A class without images gets the offset of the rarest class with images, here and in every part that counts images.

    The addition makes a rare class need a larger logit of its own; `posthoc=logit_adjustment` subtracts instead, from the
    logits of a network trained without adjustment. Some public code subtracts in training, which favours the head twice.

    Menon et al., 2021, arXiv 2007.07314.
    """

    balances = True
    adjustment: Tensor

    def __init__(self, tau: float = 1.0, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("adjustment", adjustment(stats, tau))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits + self.adjustment
