"""CDT: class-dependent temperatures that divide the logits of the loss."""

from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import held
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, as_rarest


def class_temperatures(counts: Tensor, gamma: float) -> Tensor:
    """(C,) float64: (n_max / n_c) ** gamma, 1 for the largest class.

    A class without images counts as the rarest class with images.
    """
    return (counts.max() / as_rarest(counts).double()) ** gamma


class CDT(Adjust):
    """Class-dependent temperatures: divides the logits of the loss by (n_max / n_c) ** gamma; the plain logits predict.

    A rare class has to reach a larger logit in training, which makes up for the smaller logits of its test images.
    gamma = 0.2 is the value of BagofTricks-LT for CIFAR-100; the authors choose gamma on validation data.

    Ye et al., 2020, arXiv 2001.01385.
    """

    balances = True
    temperatures: Tensor

    def __init__(self, gamma: float = 0.2, *, stats: ClassStats):
        super().__init__()
        if gamma < 0:
            raise ConfigError(f"gamma must not be negative, which would favour the head, got {gamma}")
        self.register_buffer("temperatures", held(class_temperatures(stats.counts, gamma), "gamma", gamma))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits / self.temperatures
