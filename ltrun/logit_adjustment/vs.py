"""Vector scaling: logits scaled and shifted by functions of the class counts."""

from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.logit_adjustment.balanced_softmax import log_counts
from ltrun.logit_adjustment.cdt import class_temperatures
from ltrun.numerics import held
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs


def prior_shift(counts: Tensor, tau: float) -> Tensor:
    """(C,) float64: tau * log(n_c / N), without an epsilon; a class without images counts as the rarest class with images."""
    return tau * (log_counts(counts) - counts.sum().double().log())


class VS(Adjust):
    """Vector scaling: divides the logits of the loss by (n_max / n_c) ** gamma, then adds tau times the log prior.

    The plain logits predict. gamma = 0 is logit adjustment, tau = 0 is CDT; 0.3 and 1 are the defaults of the authors' code,
    which they tune for each data set (0.2 and 1.2 for CIFAR-10 in their manual). This is their multi-class loss; their binary
    loss multiplies by the temperature, subtracts the shift and scales by 30.

    Kini et al., 2021, arXiv 2103.01550.
    """

    balances = True
    temperatures: Tensor
    shift: Tensor

    def __init__(self, gamma: float = 0.3, tau: float = 1.0, *, stats: ClassStats):
        super().__init__()
        for name, value in (("gamma", gamma), ("tau", tau)):
            if value < 0:
                raise ConfigError(f"{name} must not be negative, which would favour the head, got {value}")
        self.register_buffer("temperatures", held(class_temperatures(stats.counts, gamma), "gamma", gamma))
        self.register_buffer("shift", held(prior_shift(stats.counts, tau), "tau", tau))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits / self.temperatures + self.shift
