"""Post-hoc logit adjustment: the logarithm of the class prior, subtracted from the logits."""

from torch import Tensor

from ltrun.logit_adjustment.logit_adjustment import adjustment
from ltrun.parts import PostHoc
from ltrun.types import ClassStats, Outputs


class LogitAdjustment(PostHoc):
    """Post-hoc logit adjustment: subtracts tau * log prior from the logits of a network trained with plain cross-entropy.

    `logit_adjustment=logit_adjustment` has the opposite sign: it adds tau * log prior in training. Both together counter the
    prior twice.

    Menon et al., 2021, arXiv 2007.07314.
    """

    balances = True
    adjustment: Tensor

    def __init__(self, tau: float = 1.0, *, stats: ClassStats):
        super().__init__()
        self.register_buffer("adjustment", adjustment(stats, tau))

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits") - self.adjustment
