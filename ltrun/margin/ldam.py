"""LDAM: a label-distribution-aware margin, larger for a rarer class."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import BOTH, MULTI_LABEL
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


def ldam_logits_of_several(logits: Tensor, labels: Tensor, margins: Tensor, scale: float, summed: bool) -> Tensor:
    """(B, C): scale * logits, after the margins are subtracted from the logits of the labels: each class's own, or the sum of
    those of the row's labels; of a mixed label, a share of them. labels: (B, C)."""
    own = (labels * margins).sum(dim=1, keepdim=True) if summed else margins
    return scale * (logits - labels * own)


class LDAM(Adjust):
    """Label-distribution-aware margin: subtracts n_c ** -1/4, scaled to max_margin, from the cosine of the true class.

    Needs a cosine head (classifier=cosine), whose logits it divides by the head's scale and multiplies by `scale`. The head's
    plain logits predict. Of several labels per row, the cosine of each label loses its margin; summed: as in LogitLDAM.

    Cao et al., 2019, arXiv 1906.07413.
    """

    accepts = BOTH
    reads = frozenset({"logits", "cosines"})
    margins: Tensor

    def __init__(self, max_margin: float = 0.5, scale: float = 30.0, summed: bool = False, *, stats: ClassStats):
        super().__init__()
        self.scale, self.summed = checked(max_margin, scale), summed
        self.register_buffer("margins", ldam_margins(stats.counts, max_margin).float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        cosines = logits.to(self.margins.dtype) / outputs.scale  # bfloat16 would round away differences as large as a margin
        if labels.ndim == 2:
            return ldam_logits_of_several(cosines, labels, self.margins, self.scale, self.summed)
        return ldam_logits(cosines, labels, self.margins, self.scale)


class LogitLDAM(Adjust):
    """LDAM of plain logits, several labels per row: subtracts margins from the logits of the labels and multiplies by `scale`.

    This is VideoLT's form. summed: each label's logit loses the sum of the margins of all labels of the row, as in their code;
    otherwise its own, as LDAM defines it. The head's plain logits, without the scale, predict.

    Zhang et al., 2021 (VideoLT), arXiv 2105.02668; Cao et al., 2019, arXiv 1906.07413.
    """

    accepts = frozenset({MULTI_LABEL})
    margins: Tensor

    def __init__(self, max_margin: float = 0.5, scale: float = 30.0, summed: bool = True, *, stats: ClassStats):
        super().__init__()
        self.scale, self.summed = checked(max_margin, scale), summed
        self.register_buffer("margins", ldam_margins(stats.counts, max_margin).float())

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return ldam_logits_of_several(logits.to(self.margins.dtype), labels, self.margins, self.scale, self.summed)


def checked(max_margin: float, scale: float) -> float:
    """Returns scale. Raises ConfigError for a margin below 0 or a scale that is not above 0."""
    if max_margin < 0:
        raise ConfigError(f"max_margin must not be negative, got {max_margin}")
    if scale <= 0:
        raise ConfigError(f"scale must be above 0, got {scale}")
    return scale
