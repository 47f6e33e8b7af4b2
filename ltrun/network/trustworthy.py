"""Experts that are combined by how certain they are: evidential deep learning, with Dempster's rule between experts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.network.experts import Experts
from ltrun.parts import Network, Piece
from ltrun.types import Outputs


def engagement(experts: Tensor) -> Tensor:
    """(E, B): the weight of each expert for each image, 1 for the first; it falls with the certainty of the experts before.

    experts: (E, B, C) logits. With evidence e ** logit, alpha = evidence + 1 and S the sum of alpha, an expert has beliefs
    evidence / S and uncertainty u = C / S. Its successor's weight is its own times u / (1 - K), with K the conflict of its
    beliefs with those of the expert before it: the sum of their products over pairs of different classes.
    """
    log_total = F.softplus(experts).logsumexp(dim=2)
    beliefs, unsure = (experts - log_total[:, :, None]).exp(), experts.shape[2] * (-log_total).exp()
    agreement = (beliefs[1:] * beliefs[:-1]).sum(dim=2)
    apart = unsure[1:] + unsure[:-1] - unsure[1:] * unsure[:-1] + agreement  # 1 - K, without cancellation
    return torch.cat([torch.ones_like(unsure[:1]), unsure[:1], unsure[1:] / apart])[:-1].cumprod(dim=0)


def combined(experts: Tensor, weights: Tensor, sharpness: float) -> Tensor:
    """(B, C): the mean of the experts' logits (E, B, C), weighted by softmax over experts of weights (E, B) / sharpness."""
    return (F.softmax(weights / sharpness, dim=0)[:, :, None] * experts).sum(dim=0)


class Trustworthy(Network):
    """Experts whose logits are combined by their weights: later experts count where the experts before them are uncertain.

    The authors' code divides the weights by their sum over the batch, so that a prediction depends on the other images; here
    they sum to 1 over the experts of an image.

    Li et al., 2022, arXiv 2111.09030.
    """

    provides = Experts.provides

    def __init__(self, network: Experts, sharpness: float = 0.2):
        super().__init__()
        if sharpness <= 0:
            raise ConfigError(f"sharpness must be above 0, got {sharpness}")
        self.network, self.sharpness = network, sharpness

    @property
    def features(self) -> int:
        return self.network.features

    def encode(self, inputs: Tensor) -> Tensor:
        return self.network.encode(inputs)

    def pieces(self) -> list[Piece]:
        return self.network.pieces()

    def decide(self, features: Tensor) -> Outputs:
        outputs = self.network.decide(features)
        experts = outputs.need("experts")
        return replace(outputs, logits=combined(experts, engagement(experts), self.sharpness))
