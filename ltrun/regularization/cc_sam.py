"""CC-SAM: sharpness of each class's loss, in the classifier in a first stage and in the features in a second."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ltrun.errors import ConfigError
from ltrun.loss import Classification
from ltrun.numerics import widened
from ltrun.parts import Term
from ltrun.targets import one_label
from ltrun.types import ClassStats, Labels, Outputs, Streams, View, as_rarest

LEAST = 1e-12  # of a norm that divides


def residuals(logits: Tensor, targets: Labels) -> Tensor:
    """(B, C): the gradient of each row's cross-entropy with respect to its logits: probabilities minus labels."""
    shares = torch.zeros_like(logits).scatter_add(1, targets.index, targets.weight.to(logits.dtype))
    return logits.softmax(dim=1) - shares


def class_means(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, B): row i averages over the rows of the batch that have the label of row i."""
    same = (labels[:, None] == labels).to(dtype)
    return same / same.sum(dim=1, keepdim=True)


def step_of_classifier(features: Tensor, logits: Tensor, weight: Tensor, targets: Labels, counts: Tensor, rho: float) -> Tensor:
    """(B, C): what each row's logits gain where its class alone has moved the classifier up its own loss.

    With g_c the gradient of the mean cross-entropy of the rows whose first label is c, weights and bias w move by
    rho * sqrt(|w| * sqrt(P) / (2 * |g_c| * sqrt(n_c - 1))) * g_c / |g_c|, each tensor with its own |g_c|; |w| and P are norm
    and number of all parameters of the classifier. A class with one image counts as one with two.

    features: (B, D). logits: (B, C) of the linear classifier. weight: (C, D). counts: (C,) training images.
    """
    bias = (logits - features @ weight.T).mean(dim=0)
    size = (weight.square().sum() + bias.square().sum()).sqrt()
    radius = rho * (size * math.sqrt(weight.numel() + len(bias)) / 2).sqrt() / (counts - 1).clamp(min=1).to(logits) ** 0.25
    radius = radius[targets.labels][:, None]
    errors, mean = residuals(logits, targets), class_means(targets.labels, logits.dtype)
    inner = features @ features.T
    of_weights = (mean @ (inner * (errors @ errors.T)) * mean).sum(dim=1, keepdim=True).clamp(min=LEAST**2).sqrt()
    of_bias = (mean @ errors).norm(dim=1, keepdim=True).clamp(min=LEAST)
    return radius * ((mean * inner) @ errors / of_weights**1.5 + mean @ errors / of_bias**1.5)


class ClassConditionalSAM(Term):
    """CC-SAM's first stage: (1 - share) * loss + share * loss of each row where its class has moved the classifier.

    The second loss is the run's classification loss for each row's first label. Gradients pass it as if the classifier had not
    moved, as in the authors' code. There rho is 1e-6, with which logits move in their sixth digit: the term is then the loss of
    the first labels, which differs from the first summand under mixup alone.

    Zhou et al., 2023, CVPR 2023 (Class-Conditional Sharpness-Aware Minimization).
    """

    reads = frozenset({"features", "logits", "head", "products"})
    counts: Tensor

    def __init__(self, rho: float = 1e-6, share: float = 0.5, *, classify: Classification, stats: ClassStats):
        super().__init__()
        if rho <= 0:
            raise ConfigError(f"rho must be above 0, got {rho}")
        if not 0 < share <= 1:
            raise ConfigError(f"share must be above 0 and at most 1, got {share}; regularization=none has the plain loss")
        self.rho, self.share, self.classify = rho, share, classify
        self.register_buffer("counts", as_rarest(stats.counts), persistent=False)

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        logits = output.need("logits")
        with torch.no_grad():
            features, weight = widened(output.need("features")), widened(output.need("head"))
            step = step_of_classifier(features, widened(logits), weight, targets, self.counts, self.rho)
        moved = self.classify.loss(logits + step, Labels.hard(targets.labels), output)
        return (1 - self.share) * self.classify.loss(logits, targets, output) + self.share * moved


def step_of_features(logits: Tensor, weight: Tensor, targets: Labels, radius: Tensor) -> Tensor:
    """(B, D): radius (B,) times the gradient of each row's cross-entropy with respect to its features, divided by the norm of
    these gradients over all rows of the batch with its first label."""
    slopes = residuals(logits, targets) @ weight
    same = (targets.labels[:, None] == targets.labels).to(slopes.dtype)
    norms = (same @ slopes.square().sum(dim=1)).sqrt().clamp(min=LEAST)
    return slopes * (radius / norms)[:, None]


class FeatureSAM(Term):
    """CC-SAM's second stage: (1 - a) * loss + a * loss at moved features, where rows of class c weigh v_c.

    v_c = ln(n_max / n_c + 0.01) / 2, which is 0.005 for the largest class. The features of a row move by v_c up the loss of its
    class. a = min(t / T, limit) in epoch t of T, counted from 1. Both losses are the run's classification loss.

    Zhou et al., 2023, CVPR 2023 (Class-Conditional Sharpness-Aware Minimization).
    """

    reads = frozenset({"logits", "head", "products"})
    radius: Tensor
    alpha: Tensor

    def __init__(self, limit: float = 0.3, *, classify: Classification, stats: ClassStats):
        super().__init__()
        if not 0 < limit <= 1:
            raise ConfigError(f"limit must be above 0 and at most 1, got {limit}")
        self.limit, self.classify = limit, classify
        counts = as_rarest(stats.counts).double()
        self.register_buffer("radius", ((counts.max() / counts + 0.01).log() / 2).float(), persistent=False)
        self.register_buffer("alpha", torch.zeros(()))

    def adapt(self, view: View) -> None:
        self.alpha.fill_(min((view.clock.epoch + 1) / view.clock.epochs, self.limit))

    def forward(self, outputs: Mapping[str, Outputs], streams: Streams) -> Tensor:
        output, targets = outputs["main"], one_label(streams["main"].targets)
        logits, weight = output.need("logits"), output.need("head")
        radius = self.radius[targets.labels]
        with torch.no_grad():
            step = step_of_features(widened(logits), widened(weight), targets, radius)
        first = Labels.hard(targets.labels)
        moved = self.classify.loss(logits + F.linear(step, widened(weight)), Labels(first.index, radius[:, None]), output)
        return (1 - self.alpha) * self.classify.loss(logits, targets, output) + self.alpha * moved
