"""DRO-LT: a contrast of images with the mean features of their classes that holds for the worst means within a distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from ltrun.errors import ConfigError
from ltrun.numerics import widened
from ltrun.parts import Term, Weigh
from ltrun.types import ClassStats, Outputs, Streams, View, as_rarest

CHUNK = 1024  # rows that pass through the network at once
NEAREST = 1e-12  # squared distance below which a distance has no gradient


def dro_lt(
    features: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    epsilon: Tensor | None = None,
    temperature: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """A scalar: the mean over the classes of the batch of -log p, p the share of a class's row among all rows.

    For class c, log p of row i is s_i / T - log sum_j exp(s_j / T) over all rows j of the batch, with s_j = -|mu_c - f_j|, and
    for rows of class c epsilon_c less; -log p of a class is the mean over its rows. features: (B, D) f. labels: (B,).
    prototypes: (C, D) mu. epsilon: (C,). weights: (C,), of the classes, divided by their sum over all C, also those that are
    not in the batch, as in the authors' code.
    """
    own = prototypes[labels]
    squared = own.square().sum(dim=1, keepdim=True) + features.square().sum(dim=1) - 2 * own @ features.T
    same = labels[:, None] == labels
    distance = squared.clamp(min=NEAREST).sqrt()
    if epsilon is not None:
        distance = distance + torch.where(same, epsilon[labels][:, None], 0.0)
    losses = -(-distance / temperature).log_softmax(dim=1).diagonal()
    share = 1 / same.sum(dim=1).to(losses.dtype)  # of a row in its class
    if weights is None:
        return (share * losses).sum() / share.sum()
    return (weights[labels] * share * losses).sum() / weights.sum()


class DROLT(Term):
    """Distributional robustness loss, added to the classification loss: images near the mean of their class, by a margin.

    The means are of the features of all training images, augmented as in training, anew before each epoch and fixed within
    it. epsilon: the distance within which the worst mean counts, at the start; each class learns its own. class_weights: of the
    losses of the classes: none, balanced (1 / n_c), or frequency (n_c). The authors' code gives rows of a batch the distances
    of other classes; here each row has its own class's.

    Samuel and Chechik, 2021, arXiv 2104.03066.
    """

    reads = frozenset({"features"})
    mixed = False
    prototypes: Tensor
    weights: Tensor | None

    def __init__(
        self,
        temperature: float = 1.0,
        epsilon: float = 1.0,
        class_weights: Literal["none", "balanced", "frequency"] = "none",
        *,
        features: int,
        stats: ClassStats,
    ):
        super().__init__()
        if temperature < 1e-3:
            raise ConfigError(f"temperature must be at least 0.001, got {temperature}")
        if epsilon < 0:
            raise ConfigError(f"epsilon must not be negative, got {epsilon}")
        self.temperature = temperature
        self.epsilon = nn.Parameter(torch.full((stats.num_classes,), epsilon))
        self.register_buffer("prototypes", torch.zeros(stats.num_classes, features))
        counts = as_rarest(stats.counts).float()
        weights = {"none": None, "balanced": counts.min() / counts, "frequency": counts / counts.max()}[class_weights]
        self.register_buffer("weights", weights, persistent=False)

    @torch.no_grad()
    def adapt(self, view: View) -> None:
        total, number = torch.zeros_like(self.prototypes), torch.zeros_like(self.prototypes[:, :1])
        for rows in torch.arange(len(view.labels)).split(CHUNK):
            batch = view.augment(view.open(rows))
            features = widened(view.predict(batch.inputs).need("features"))
            own = batch.targets.labels == torch.arange(len(total), device=features.device)[:, None]
            total += own.to(features.dtype) @ features
            number += own.sum(dim=1, keepdim=True)
        self.prototypes.copy_(total / number.clamp(min=1))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        features, labels = widened(outputs["main"].need("features")), streams["main"].targets.labels
        with torch.autocast(features.device.type, enabled=False):
            return dro_lt(features, labels, self.prototypes, self.epsilon, self.temperature, self.weights)


class FrequencyWeights(Weigh):
    """Weights a row by n_c / n_max of its class: with class-balanced samples, the classes count as the data have them.

    For DRO-LT's stage of features. Samuel and Chechik, 2021, arXiv 2104.03066.
    """

    weights: Tensor

    def __init__(self, *, stats: ClassStats):
        super().__init__()
        counts = as_rarest(stats.counts).float()
        self.register_buffer("weights", counts / counts.max(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return self.weights[labels]
