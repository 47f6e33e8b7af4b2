"""Tau-normalisation: class weights divided by a power of their length."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.parts import PostHoc
from ltrun.types import Outputs


def tau_normalised(weight: Tensor, tau: float) -> Tensor:
    """(C, D): each class's weight divided by its Euclidean length to the power tau.

    If a power overflows or underflows, all weights are divided by the largest factor, which changes no ranking.
    """
    length = weight.norm(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    scaled = weight / length**tau
    logs = -tau * length.double().log()
    whole = scaled.isfinite().all() & scaled.any(dim=1).all()
    return torch.where(whole, scaled, weight * (logs - logs.max()).exp().to(weight))  # no branch: exports trace it


class TauNorm(PostHoc):
    """Tau-normalisation: divides class weights by their length ** tau, because frequent classes learn longer weights.

    The bias is dropped, as in the authors' code, so tau = 0 is the trained classifier without its bias. The authors choose tau
    on validation data; 1 is the value of BagofTricks-LT on CIFAR-LT. Needs a head whose logits are features times class
    weights, linear or LWS: a cosine head ignores the length of its weights, and DisAlign's logits need more than class weights.

    Kang et al., 2020, arXiv 1910.09217.
    """

    reads = frozenset({"features", "head", "products"})

    def __init__(self, tau: float = 1.0):
        super().__init__()
        if tau < 0:
            raise ConfigError(f"tau must not be negative, which would favour the head, got {tau}")
        self.tau = tau

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("features") @ tau_normalised(outputs.need("head"), self.tau).T
