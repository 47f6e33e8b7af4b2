"""Hybrid-SC and Hybrid-PSC: training passes from a contrastive loss to the classification of class-balanced images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network.bilateral import alpha
from ltrun.numerics import widened
from ltrun.parts import Part, Term
from ltrun.representation.queue import check_length
from ltrun.representation.supcon import supcon, two_views
from ltrun.transfer.divergence import check_temperature
from ltrun.types import Outputs, Streams, View


def prototypical(embedding: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """A scalar: the mean of -log(exp(z p_y / T) / sum_{j != y} exp(z p_j / T)); negative once z is near its prototype.

    embedding: (B, P), prototypes: (C, P), unit vectors. labels: (B,). The own prototype stands outside the denominator.
    """
    logits = embedding @ prototypes.T / temperature
    own = labels[:, None] == torch.arange(len(prototypes), device=labels.device)
    others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
    return (others - logits.gather(1, labels[:, None])[:, 0]).mean()


class _Passage(Part):
    """alpha * a contrastive loss + (1 - alpha) * the run's classification loss on stream `balanced`.

    alpha = 1 - (epoch / epochs) ** 2, as in BBN, passes training from features to the classifier.
    """

    alpha: Tensor

    def __init__(self, classify: Classification):
        super().__init__()
        self.classify = classify
        self.register_buffer("alpha", torch.ones(()))

    def adapt(self, view: View) -> None:
        self.alpha.fill_(alpha(view.clock.epoch, view.clock.epochs))

    def forward(self, contrastive: Tensor, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        balanced = outputs["balanced"]
        classification = self.classify.loss(balanced.need("logits"), streams["balanced"].targets, balanced)
        return self.alpha * contrastive + (1 - self.alpha) * classification


class HybridSC(Term):
    """Hybrid-SC: passes from SupCon's loss on two views to the classification of class-balanced images; one backbone.

    The views are the streams `main` and `view`, of the same images. An adaptation: the authors' code is not public.

    Wang et al., 2021, arXiv 2103.14267.
    """

    streams = ("main", "view", "balanced")
    reads = frozenset({"logits", "embedding"})
    mixed = False
    balances = True

    def __init__(self, temperature: float = 0.1, *, classify: Classification):
        super().__init__()
        check_temperature(temperature)
        self.temperature, self.passage = temperature, _Passage(classify)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        embedding, labels = two_views(outputs, streams)
        with torch.autocast(embedding.device.type, enabled=False):
            contrastive = supcon(embedding, labels, self.temperature, base=self.temperature)
        return cast(Tensor, self.passage(contrastive, outputs, streams))


class HybridPSC(Term):
    """Hybrid-PSC: passes from a contrast of images with learnt prototypes of the classes to their classification.

    It needs no second view, and no other image of the class in the batch. dim: length of the embedding. An adaptation: the
    authors' code is not public.

    Wang et al., 2021, arXiv 2103.14267.
    """

    streams = ("main", "balanced")
    reads = frozenset({"logits", "embedding"})
    mixed = False
    balances = True

    def __init__(self, temperature: float = 0.1, dim: int = 128, *, num_classes: int, classify: Classification):
        super().__init__()
        check_temperature(temperature)
        if dim < 1:
            raise ConfigError(f"dim must be at least 1, got {dim}")
        self.temperature, self.passage = temperature, _Passage(classify)
        self.prototypes = nn.Parameter(torch.randn(num_classes, dim))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        embedding, labels = widened(outputs["main"].need("embedding")), streams["main"].targets.labels
        check_length(self.prototypes, embedding)
        with torch.autocast(embedding.device.type, enabled=False):
            prototypes = F.normalize(self.prototypes, dim=1)
            contrastive = prototypical(embedding, prototypes, labels, self.temperature)
        return cast(Tensor, self.passage(contrastive, outputs, streams))
