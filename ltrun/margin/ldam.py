"""LDAM: a label-distribution-aware margin, larger for a rarer class."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, as_rarest


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """(C,) float64, proportional to n_c ** -1/4; max_margin for the rarest class, and for classes without images."""
    counts = as_rarest(counts).double()
    return max_margin * (counts.min() / counts) ** 0.25


def ldam_logits(cosines: Tensor, labels: Tensor, margins: Tensor, scale: float) -> Tensor:
    """(B, C): scale * cosines, after its class's margin is subtracted from the label's cosine."""
    is_label = labels[:, None] == torch.arange(cosines.shape[1], device=labels.device)
    return scale * torch.where(is_label, cosines - margins[labels][:, None], cosines)


class LDAM(Adjust):
    """Label-distribution-aware margin: subtracts n_c ** -1/4, scaled to max_margin, from the cosine of the true class.

    Needs a cosine head (classifier=cosine), whose logits it divides by the head's scale and multiplies by `scale`. The head's
    plain logits predict.

    Cao et al., 2019, arXiv 1906.07413.
    """

    reads = frozenset({"logits", "cosines"})
    margins: Tensor

    def __init__(self, max_margin: float = 0.5, scale: float = 30.0, *, stats: ClassStats):
        super().__init__()
        if max_margin < 0:
            raise ConfigError(f"max_margin must not be negative, got {max_margin}")
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        self.scale = scale
        self.register_buffer("margins", ldam_margins(stats.counts, max_margin).float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        cosines = logits.to(self.margins.dtype) / outputs.scale  # bfloat16 would round away differences as large as a margin
        return ldam_logits(cosines, labels, self.margins, self.scale)
