"""Uncertainty margins: a wider angle for a class whose predictions are less certain."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.parts import Adjust
from ltrun.targets import one_label
from ltrun.types import Outputs, Streams, View


def angular_logits(cosines: Tensor, labels: Tensor, margins: Tensor, scale: float) -> Tensor:
    """(B, C): scale * cosines, the label's cosine being psi(theta) = (-1)^k cos(m theta) - 2k, k = floor(m theta / pi).

    psi falls with the angle theta even where cos(m theta) rises again; m = 1 gives the cosine. margins: (C,), the factors m.
    """
    own = cosines.gather(1, labels[:, None])
    edge = 1 - 8 * torch.finfo(cosines.dtype).eps  # the slope of the arc cosine is infinite at 1
    angle = margins[labels][:, None] * own.clamp(-edge, edge).acos()
    turns = (angle.detach() / math.pi).floor()
    psi = (1 - 2 * (turns % 2)) * angle.cos() - 2 * turns
    is_label = labels[:, None] == torch.arange(cosines.shape[1], device=labels.device)
    return scale * torch.where(is_label, psi, cosines)


def dropout_variance(features: Tensor, weight: Tensor, scale: float, rate: float, passes: int) -> Tensor:
    """(B,): variance of the softmax over `passes` draws of dropout on the features, summed over the classes.

    features: (B, D). weight: (C, D) class weights of a cosine head.
    """
    kept = features.new_empty(passes, *features.shape).bernoulli_(1 - rate)
    thinned = F.normalize(features * kept, dim=2) @ F.normalize(weight, dim=1).T
    return (scale * thinned).softmax(2).var(0, correction=0).sum(1)


def uncertainty_margins(uncertainty: Tensor, seen: Tensor, max_margin: float) -> Tensor:
    """(C,): from 1 for the most certain class to max_margin for the least certain; 1 if unseen, or if all are equal."""
    low = uncertainty.masked_fill(~seen, math.inf).amin()
    high = uncertainty.masked_fill(~seen, -math.inf).amax()
    share = (uncertainty - low) / (high - low).clamp(min=torch.finfo(uncertainty.dtype).tiny)
    return 1 + (max_margin - 1) * torch.where(seen & (high > low), share, torch.zeros_like(share))


class UncertaintyMargin(Adjust):
    """Bayesian uncertainty margin: multiplies the label's angle by 1 to max_margin, more if its class is less certain.

    This is the class-level half of the paper's idea: decision boundaries move away from uncertain classes. There is no public
    code; the form chosen here is the multiplicative angular margin of large-margin softmax (Liu et al., 2016, arXiv
    1612.02295), linear in the uncertainty. A row's uncertainty is the variance of its prediction under dropout, a sampled
    posterior (Gal and Ghahramani, 2016, arXiv 1506.02142). These networks have no dropout, so it is drawn on the features
    alone, which needs no further forward pass. A class's uncertainty is the mean over an epoch's rows, by shares of mixed
    labels; it sets the margins of the next epoch, so the first epoch has none. max_margin = 1.5 lowers the cosine at one
    radian by 0.47, about as much as LDAM. The sample-level half, a Gaussian around each feature, is left out.

    Khan et al., 2019, arXiv 1901.07590.
    """

    reads = frozenset({"logits", "cosines", "features", "head"})
    acts_from = 1
    margins: Tensor
    sums: Tensor
    shares: Tensor

    def __init__(self, max_margin: float = 1.5, scale: float = 30.0, rate: float = 0.5, passes: int = 10, *, num_classes: int):
        super().__init__()
        if max_margin < 1:
            raise ConfigError(f"max_margin must be a factor of at least 1, got {max_margin}")
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        if not 0 < rate < 1:
            raise ConfigError(f"rate must be above 0 and below 1, got {rate}")
        if passes < 2:
            raise ConfigError(f"passes must be at least 2, because a variance needs two draws, got {passes}")
        self.max_margin, self.scale, self.rate, self.passes = max_margin, scale, rate, passes
        self.register_buffer("margins", torch.ones(num_classes))
        self.register_buffer("sums", torch.zeros(num_classes))
        self.register_buffer("shares", torch.zeros(num_classes))

    def adapt(self, view: View) -> None:
        means = self.sums / self.shares.clamp(min=torch.finfo(self.shares.dtype).tiny)
        self.margins.copy_(uncertainty_margins(means, self.shares > 0, self.max_margin))
        self.sums.zero_()
        self.shares.zero_()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return angular_logits(logits.to(self.margins.dtype) / outputs.scale, labels, self.margins, self.scale)

    def after_step(self, outputs: Mapping[str, Outputs], streams: Streams) -> None:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        features, weight = output.need("features").to(self.sums.dtype), output.need("head").to(self.sums.dtype)
        variance = dropout_variance(features, weight, output.scale, self.rate, self.passes)
        labels, shares = targets.index.flatten(), targets.weight.flatten()
        self.sums.index_add_(0, labels, shares * variance[:, None].expand_as(targets.weight).flatten())
        self.shares.index_add_(0, labels, shares)
