"""RoBal: a class bias and a margin, both functions of the class counts."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.numerics import held
from ltrun.parts import Adjust
from ltrun.types import ClassStats, Outputs, as_rarest


def robal_margins(counts: Tensor, margin: float, tau_margin: float, scale: float) -> Tensor:
    """(C,) float64: margin + tau_margin / scale * log(n_c / n_min), in cosines; a class without images counts as the rarest."""
    counts = as_rarest(counts).double()
    return margin + tau_margin / scale * (counts / counts.min()).log()


def robal_bias(counts: Tensor, tau_bias: float) -> Tensor:
    """(C,) float64: tau_bias * log(n_c / N); a class without images counts as the rarest."""
    return tau_bias * (as_rarest(counts).double() / counts.sum()).log()


def robal_logits(cosines: Tensor, labels: Tensor, margins: Tensor, bias: Tensor, scale: float) -> Tensor:
    """(B, C): scale * cosines + bias, after its class's margin is subtracted from the label's cosine."""
    is_label = labels[:, None] == torch.arange(cosines.shape[1], device=labels.device)
    return scale * torch.where(is_label, cosines - margins[labels][:, None], cosines) + bias


class RoBal(Adjust):
    """RoBal: adds a bias of tau_bias * log prior, and subtracts a cosine margin that grows with the class's number of images.

    The bias makes room for rare classes; the larger margin of frequent classes gives some of that room back. This is RoBal's
    classifier, without its adversarial training. The defaults are those of the authors' CIFAR-10-LT configuration RoBal-R,
    with the same margin on the logit, scale * margin + tau_margin * log(n_c / n_min); their CIFAR-100 configurations leave
    tau_margin and tau_bias at 0 and subtract 1.5 * log prior at test time. The plain cosine head divides class weights by
    their length; the authors' head divides them by their length + 1/32.

    Wu et al., 2021, arXiv 2104.02703.
    """

    reads = frozenset({"logits", "cosines"})
    balances = True
    margins: Tensor
    bias: Tensor

    def __init__(
        self, margin: float = 0.1, tau_margin: float = 0.3, tau_bias: float = 1.5, scale: float = 10.0, *, stats: ClassStats
    ):
        super().__init__()
        for name, value in (("margin", margin), ("tau_margin", tau_margin), ("tau_bias", tau_bias)):
            if value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")
        if scale <= 0:
            raise ConfigError(f"scale must be above 0, got {scale}")
        self.scale = scale
        self.register_buffer("margins", robal_margins(stats.counts, margin, tau_margin, scale).float())
        self.register_buffer("bias", held(robal_bias(stats.counts, tau_bias), "tau_bias", tau_bias))

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        cosines = logits.to(self.margins.dtype) / outputs.scale
        return robal_logits(cosines, labels, self.margins, self.bias, self.scale)
