"""Negative-tolerant regularisation (NTR): a shift by the class prior, and milder pressure on negative logits."""

from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.metrics import MULTI_LABEL
from ltrun.numerics import held
from ltrun.parts import Adjust, Weigh
from ltrun.types import ClassStats, Outputs, as_rarest


def prior_shift(counts: Tensor, images: int, kappa: float, negative_scale: float) -> Tensor:
    """(C,) float64: -kappa log(N / n_j - 1) / lambda, below 0 for a class of less than half of the images.

    A class without images counts as the rarest class with images; a class of all N images as if one had it not.
    """
    counts = as_rarest(counts).double()
    return -kappa * ((images - counts).clamp(min=1) / counts).log() / negative_scale


def negatives_scaled(labels: Tensor, scale: float) -> Tensor:
    """(B, C): 1 at labels and `scale` elsewhere; between the two where rows are mixed."""
    return labels + scale * (1 - labels)


class NegativeTolerant(Adjust):
    """Negative-tolerant regularisation, NTR: shifts logits by -kappa log(N / n_j - 1) / lambda, then multiplies the negative
    ones by lambda; NegativeTolerantWeights divides their losses by it. The plain logits predict.

    So a negative's gradient is the probability of lambda times the logit, which falls faster, and a tail class is not pushed
    down for ever. negative_scale is the authors' lambda for VOC-LT; 2 for COCO-LT. Where rows are mixed, the factor is in
    proportion to the label, as in the authors' code.

    Wu et al., 2020, arXiv 2007.09654.
    """

    accepts = frozenset({MULTI_LABEL})
    shift: Tensor

    def __init__(self, kappa: float = 0.05, negative_scale: float = 5.0, *, stats: ClassStats):
        super().__init__()
        if kappa < 0:
            raise ConfigError(f"kappa must not be negative, which would favour the head, got {kappa}")
        self.negative_scale = positive(negative_scale)
        self.register_buffer("shift", held(prior_shift(stats.counts, stats.images, kappa, negative_scale), "kappa", kappa))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return (logits + self.shift) * negatives_scaled(labels, self.negative_scale)


class NegativeTolerantWeights(Weigh):
    """The weights of negative-tolerant regularisation, NTR: 1 / lambda for negative entries; see NegativeTolerant.

    Wu et al., 2020, arXiv 2007.09654.
    """

    accepts = frozenset({MULTI_LABEL})

    def __init__(self, negative_scale: float = 5.0):
        super().__init__()
        self.negative_scale = positive(negative_scale)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return negatives_scaled(labels, 1 / self.negative_scale)


def positive(negative_scale: float) -> float:
    if negative_scale <= 0:
        raise ConfigError(f"negative_scale must be above 0, got {negative_scale}")
    return negative_scale
