"""Hybrid-SC and Hybrid-PSC: training passes from a contrastive loss to the classification of class-balanced images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.network.bilateral import alpha
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.representation.supcon import supcon
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


class Hybrid(Term):
    """alpha * a contrastive loss + (1 - alpha) * the run's classification loss on stream `balanced`; alpha as in BBN.

    alpha = 1 - (epoch / epochs) ** 2 passes training from features to the classifier. The two branches share the backbone.
    """

    reads = frozenset({"logits", "embedding"})
    mixed = False
    balances = True
    alpha: Tensor

    def __init__(self, temperature: float, classify: Classification):
        super().__init__()
        check_temperature(temperature)
        self.temperature, self.classify = temperature, classify
        self.register_buffer("alpha", torch.ones(()))

    def adapt(self, view: View) -> None:
        self.alpha.fill_(alpha(view.clock.epoch, view.clock.epochs))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        balanced = outputs["balanced"]
        classification = self.classify.loss(balanced.need("logits"), streams["balanced"].targets, balanced)
        with torch.autocast(classification.device.type, enabled=False):
            contrastive = self.contrast(outputs, streams)
        return self.alpha * contrastive + (1 - self.alpha) * classification

    def contrast(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        """Returns the contrastive loss, a scalar."""
        raise NotImplementedError


class HybridSC(Hybrid):
    """Hybrid-SC: the contrastive loss is SupCon's, of stream `main` and of stream `view`, another view of the same images.

    An adaptation: the authors' code is not public.

    Wang et al., 2021, arXiv 2103.14267.
    """

    streams = ("main", "view", "balanced")

    def __init__(self, temperature: float = 0.1, *, classify: Classification):
        super().__init__(temperature, classify)

    def contrast(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        embedding = torch.cat([widened(outputs[name].need("embedding")) for name in ("main", "view")])
        labels = torch.cat([streams[name].targets.primary for name in ("main", "view")])
        return supcon(embedding, labels, self.temperature, base=self.temperature)


class HybridPSC(Hybrid):
    """Hybrid-PSC: the contrastive loss pulls an image to the learnt prototype of its class and away from all others.

    It needs no second view, and no other image of the class in the batch. dim: length of the embedding. An adaptation: the
    authors' code is not public.

    Wang et al., 2021, arXiv 2103.14267.
    """

    streams = ("main", "balanced")

    def __init__(self, temperature: float = 0.1, dim: int = 128, *, num_classes: int, classify: Classification):
        super().__init__(temperature, classify)
        if dim < 1:
            raise ConfigError(f"dim must be at least 1, got {dim}")
        self.prototypes = nn.Parameter(torch.randn(num_classes, dim))

    def contrast(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        embedding = widened(outputs["main"].need("embedding"))
        if embedding.shape[1] != self.prototypes.shape[1]:
            raise ConfigError(f"dim must equal the projector's out, {embedding.shape[1]}, got {self.prototypes.shape[1]}")
        prototypes = F.normalize(self.prototypes, dim=1)
        return prototypical(embedding, prototypes, streams["main"].targets.primary, self.temperature)
