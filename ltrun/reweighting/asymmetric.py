"""Asymmetric loss (ASL): negative terms are focused more than positive ones, and easy negatives dropped."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.metrics import MULTI_LABEL
from ltrun.parts import Criterion
from ltrun.reweighting.sigmoid import is_label
from ltrun.types import Outputs


def asymmetric(
    logits: Tensor, labels: Tensor, gamma_negative: float, gamma_positive: float, clip: float, detach: bool
) -> Tensor:
    """(B, C): -(1 - p) ** g+ log p at labels, -(1 - q) ** g- log q elsewhere; p the sigmoid, q = min(1 - p + clip, 1).

    detach: whether the focusing weights have no gradient. logits, labels: (B, C).
    """
    p, q = torch.sigmoid(logits), (torch.sigmoid(-logits) + clip).clamp(max=1)
    log_q = q.log() if clip > 0 else F.logsigmoid(-logits)  # exact where q is as good as 0
    miss = 1 - (p * labels + q * (1 - labels))
    focus = focusing(miss.detach() if detach else miss, labels, gamma_negative, gamma_positive)
    return -(labels * F.logsigmoid(logits) + (1 - labels) * log_q) * focus


def focusing(miss: Tensor, labels: Tensor, gamma_negative: float, gamma_positive: float) -> Tensor:
    """(B, C): miss ** g+ at labels, miss ** g- elsewhere; without an infinite slope where a prediction is perfect."""
    return miss.clamp(min=torch.finfo(miss.dtype).tiny) ** (gamma_positive * labels + gamma_negative * (1 - labels))


def asymmetric_softmax(
    logits: Tensor, labels: Tensor, gamma_negative: float, gamma_positive: float, smoothing: float
) -> Tensor:
    """(B,): cross-entropy of smoothed labels, with log p of each class times (1 - p) ** g+ at the label, p ** g- elsewhere.

    p: the softmax. labels: (B,).
    """
    log_p, own = torch.log_softmax(logits, dim=1), is_label(labels, logits.shape[1]).to(logits.dtype)
    p = log_p.exp()
    focus = focusing(own * (1 - p) + (1 - own) * p, own, gamma_negative, gamma_positive)
    return -((own * (1 - smoothing) + smoothing / logits.shape[1]) * focus * log_p).sum(dim=1)


class Asymmetric(Criterion):
    """Asymmetric loss, ASL: positive terms times (1 - p) ** gamma_positive, negative ones times (p - clip) ** gamma_negative.

    A negative with p below `clip` has no loss. The sum over the classes, and the mean over the rows: the authors sum over the
    rows as well, which their Adam does not notice. detach = true, as in their training script, takes the focusing weights for
    constants; their faster form keeps the gradient. gammas and clip are their values for MS-COCO. Mixed labels enter by share.

    Ridnik et al., 2021, arXiv 2009.14119.
    """

    accepts = frozenset({MULTI_LABEL})
    mean = "rows"

    def __init__(self, gamma_negative: float = 4.0, gamma_positive: float = 0.0, clip: float = 0.05, detach: bool = True):
        super().__init__()
        self.gammas = not_negative(gamma_negative, gamma_positive)
        if not 0 <= clip < 1:
            raise ConfigError(f"clip must be a probability, at least 0 and below 1, got {clip}")
        self.clip, self.detach = clip, detach

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return asymmetric(logits, labels, *self.gammas, self.clip, self.detach)


class AsymmetricSoftmax(Criterion):
    """ASL of one label per row: a cross-entropy of smoothed labels, in which each class's log p is focused, as in Asymmetric.

    gammas and smoothing are the defaults of the authors' ASLSingleLabel, whose focusing weights keep their gradient.

    Ridnik et al., 2021, arXiv 2009.14119.
    """

    def __init__(self, gamma_negative: float = 4.0, gamma_positive: float = 0.0, smoothing: float = 0.1):
        super().__init__()
        self.gammas = not_negative(gamma_negative, gamma_positive)
        if not 0 <= smoothing < 1:
            raise ConfigError(f"smoothing must be a share, at least 0 and below 1, got {smoothing}")
        self.smoothing = smoothing

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return asymmetric_softmax(logits, labels, *self.gammas, self.smoothing)


def not_negative(gamma_negative: float, gamma_positive: float) -> tuple[float, float]:
    if gamma_negative < 0 or gamma_positive < 0:
        raise ConfigError(
            "gamma_negative and gamma_positive must not be negative, which would favour easy entries, got "
            f"{gamma_negative} and {gamma_positive}"
        )
    return gamma_negative, gamma_positive
