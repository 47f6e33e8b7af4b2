"""Post-hoc logit adjustment: the logarithm of the class prior, subtracted from the logits."""

from torch import Tensor

from ltrun.logit_adjustment.logit_adjustment import adjustment
from ltrun.parts import PostHoc
from ltrun.types import ClassStats, Outputs


class LogitAdjustment(PostHoc):
    """Subtracts tau * log prior from the logits of a network that was trained with plain cross-entropy.

    The other sign than `logit_adjustment=logit_adjustment`, which adds it in training; doing both counters the prior twice.

    Menon et al., 2021, arXiv 2007.07314.
    """

    balances = True
    adjustment: Tensor

    def __init__(self, tau: float = 1.0, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("adjustment", adjustment(stats, tau))

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") - self.adjustment
